// window.guildhall: what automated browsers look at. It reads; nothing can be changed by it.

import type { Id } from '../protocol/objects';
import type { Heard, Spectrum } from '../media/graph';
import type { Client } from './client';

export interface Hook {
  /** The states of everything, as plain data. */
  snapshot(): object;
  /** What arrives of a user, before this user's volume for them; null where nothing does. */
  analyser(userId: Id): Heard | null;
  /** What comes out. */
  heard(): Heard | null;
  /** The same by frequency: the n-th number is that of n steps. */
  spectrum(): Spectrum | null;
}

declare global {
  interface Window {
    guildhall?: Readonly<Hook>;
  }
}

export function exposeHook(client: () => Client | null): void {
  window.guildhall = Object.freeze({
    snapshot() {
      const now = client();
      if (now === null) return { signedIn: false };
      const voice = now.voice.value;
      return structuredClone({
        signedIn: true,
        me: now.store.value.me,
        gateway: now.phase.value,
        guilds: Object.keys(now.store.value.guilds),
        voice: {
          phase: voice.phase,
          guildId: voice.guildId,
          channelId: voice.channelId,
          endpoint: voice.server?.endpoint ?? null,
          selfMute: voice.selfMute,
          selfDeaf: voice.selfDeaf,
          ssrc: voice.ssrc,
          isSpeaking: voice.speaking !== 0,
          end: voice.end,
        },
        users: Object.fromEntries(Object.entries(voice.speakers).map(([userId, { ssrc }]) => [ssrc, userId])),
        speaking: [...now.speaking.value],
        link: now.link.value,
        hasMicrophone: now.call?.hasMicrophone ?? false,
        sections: now.call?.sections() ?? [],
      });
    },
    analyser: (userId: Id) => client()?.call?.graph.heardOf(userId) ?? null,
    heard: () => client()?.call?.graph.heard() ?? null,
    spectrum: () => client()?.call?.graph.spectrum() ?? null,
  });
}
