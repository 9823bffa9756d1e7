// The connection to a voice server that another takes the place of. By it this user goes on hearing and being heard until the new one stands: each person is
// heard by the old one until there is sound of theirs by the new one, or the old one ends.

import type { Id } from '../protocol/objects';
import type { Connection } from './connection';
import type { Graph } from './graph';

/** The server ends it a second after it sent everybody away. This is for one that has died. */
const MS_MAX = 3_000;
/** A frame of sound. */
const LOOK_MS = 20;

export class Former {
  readonly #connection: Connection;
  readonly #graph: Graph;
  readonly #timers: ReturnType<typeof setInterval>[];
  readonly #socket: WebSocket | null;
  readonly #ended: () => void;
  #isEnded = false;
  /** By what those will be heard who are still heard by the old connection. */
  readonly #waiting = new Map<Id, { track: MediaStreamTrack; probe: ReturnType<Graph['probe']> }>();

  /** The server ends it early where its socket is closed, so that is kept. */
  constructor(connection: Connection, graph: Graph, socket: (ended: () => void) => WebSocket | null, ended: () => void) {
    this.#connection = connection;
    this.#graph = graph;
    this.#ended = ended;
    this.#socket = socket(() => this.end());
    this.#timers = [setTimeout(() => this.end(), MS_MAX), setInterval(() => this.#look(), LOOK_MS)];
  }

  /** The new connection has a track for somebody. */
  heardBy(userId: Id, track: MediaStreamTrack): void {
    this.forget(userId);
    if (!this.#graph.has(userId)) this.#graph.add(userId, track);
    // A track takes a tenth of a second from its first packet to its first sound.
    else this.#waiting.set(userId, { track, probe: this.#graph.probe(track) });
  }

  plays(userId: Id): boolean {
    const track = this.#graph.trackOf(userId);
    return track !== null && this.#connection.tracks().includes(track);
  }

  sendTrack(track: MediaStreamTrack | null): Promise<void> {
    return this.#connection.sendTrack(track);
  }

  /** Somebody has left. */
  forget(userId: Id): void {
    this.#waiting.get(userId)?.probe.end();
    this.#waiting.delete(userId);
  }

  /** The new connection has ended before this one. */
  forgetAll(): void {
    for (const userId of [...this.#waiting.keys()]) this.forget(userId);
  }

  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const userId of [...this.#waiting.keys()]) this.#replace(userId);
    this.#graph.drop(this.#connection.tracks());
    this.#connection.close();
    this.#socket?.close(1000);
    this.#ended();
  }

  #look(): void {
    for (const [userId, { probe }] of [...this.#waiting]) if (probe.hasSound()) this.#replace(userId);
  }

  #replace(userId: Id): void {
    const waiting = this.#waiting.get(userId);
    this.forget(userId);
    if (waiting !== undefined) this.#graph.add(userId, waiting.track);
  }
}
