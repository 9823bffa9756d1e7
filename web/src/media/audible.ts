// Whom of a channel a page is ready to hear. Each needs a section in the browser's description, and the more there are the longer each change of it
// takes: one more takes 10 ms beside twenty, and 150 ms beside two hundred.

import type { Id } from '../protocol/objects';

export interface Stream {
  ssrc: number;
  isSpeaking: boolean;
  /** By the page's clock; null for who has not spoken yet. */
  spokeAt: number | null;
}

/** So many are heard even if the word that they speak comes later than their sound. */
export const READY_MAX = 24;
/** Who spoke this long ago may go on. */
export const LATELY_MS = 60_000;

/** Those who speak or lately did, however many; and others, as long as there is room: who spoke last first. */
export function audible(streams: ReadonlyMap<Id, Stream>, now: number): Set<Id> {
  const isRecent = ({ isSpeaking, spokeAt }: Stream) => isSpeaking || (spokeAt !== null && now - spokeAt < LATELY_MS);
  const count = Math.max(READY_MAX, [...streams.values()].filter(isRecent).length);
  const rank = ({ isSpeaking, spokeAt }: Stream) => (isSpeaking ? Number.MAX_VALUE : (spokeAt ?? -1));
  const ranked = [...streams].sort(([, one], [, other]) => rank(other) - rank(one));
  return new Set(ranked.slice(0, count).map(([userId]) => userId));
}
