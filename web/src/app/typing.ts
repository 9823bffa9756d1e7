// Who writes a message, as far as the server told: it says when somebody begins, and never when they stop.

import { signal, type ReadonlySignal } from '@preact/signals';

import type { Id } from '../protocol/objects';

/** A little longer than the time after which clients that still write say so again. */
const TYPING_MS = 9_000;

/** For each channel, who writes there and until when that is believed. */
type Until = Readonly<Record<Id, Readonly<Record<Id, number>>>>;

export class Typing {
  readonly #until = signal<Until>({});

  get until(): ReadonlySignal<Until> {
    return this.#until;
  }

  begins(channelId: Id, userId: Id): void {
    this.#set(channelId, userId, Date.now() + TYPING_MS);
    // So that who looks, looks again.
    setTimeout(() => (this.#until.value = { ...this.#until.peek() }), TYPING_MS + 50);
  }

  /** Their message is there. */
  ends(channelId: Id, userId: Id): void {
    if (this.#until.peek()[channelId]?.[userId] !== undefined) this.#set(channelId, userId, 0);
  }

  #set(channelId: Id, userId: Id, until: number): void {
    const here = { ...this.#until.peek()[channelId], [userId]: until };
    this.#until.value = { ...this.#until.peek(), [channelId]: here };
  }
}
