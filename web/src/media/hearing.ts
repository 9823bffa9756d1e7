// Who is heard right now. It is heard rather than believed: libraries for bots seldom say when they stop.

import type { Id } from '../protocol/objects';
import type { Graph } from './graph';

/** Louder than this is a voice; below is what codecs make of silence. */
const HEARD_RMS = 0.004;
/** Rings that flicker between words are worse than late ones. */
const RING_HANG_MS = 250;
/** A silence is asked about when it is as long as this, and whenever it is twice as long as the last time; after half a minute, as often. */
const SILENCE_FIRST_MS = 1_000;
const SILENCE_LAST_MS = 32_000;

export class Hearing {
  readonly #graph: Graph;
  readonly #lastHeard = new Map<Id, number>();
  #heard: ReadonlySet<Id> = new Set();
  #silentSince = 0;
  #askAfter = SILENCE_FIRST_MS;

  constructor(graph: Graph) {
    this.#graph = graph;
  }

  /** Who of these is heard, and this user where their voice is sent; null where it is who was heard at the last look. */
  look(users: readonly Id[], self: Id | null, now: number): ReadonlySet<Id> | null {
    const heard = new Set<Id>();
    for (const userId of users) {
      if (this.#graph.levelOf(userId) > HEARD_RMS) this.#hears(userId, now);
      if (now - (this.#lastHeard.get(userId) ?? -Infinity) < RING_HANG_MS) heard.add(userId);
    }
    if (self !== null) heard.add(self);
    if (heard.size === this.#heard.size && [...heard].every((userId) => this.#heard.has(userId))) return null;
    this.#heard = heard;
    return heard;
  }

  /** Whether a silence is so long that it may be the path's. */
  isSilenceDue(now: number): boolean {
    if (now - this.#silentSince < this.#askAfter) return false;
    this.#askAfter += Math.min(this.#askAfter, SILENCE_LAST_MS);
    return true;
  }

  forget(userId: Id): void {
    this.#lastHeard.delete(userId);
  }

  /** A connection begins or ends. */
  clear(now: number): void {
    this.#lastHeard.clear();
    this.#beginSilence(now);
  }

  #hears(userId: Id, now: number): void {
    this.#lastHeard.set(userId, now);
    this.#beginSilence(now);
  }

  #beginSilence(now: number): void {
    this.#silentSince = now;
    this.#askAfter = SILENCE_FIRST_MS;
  }
}
