// What media goes by: the connection to the current voice server, and for a moment the one to the server before it.

import type { Id } from '../protocol/objects';
import { Connection } from './connection';
import { Former } from './former';
import type { Graph } from './graph';
import type { LinkStats } from './stats';

export interface LinkEvents {
  media(is: 'up' | 'interrupted' | 'elsewhere' | 'failed'): void;
  offered(fragment: string, ssrc: number): void;
}

export class Link {
  readonly #graph: Graph;
  readonly #events: LinkEvents;
  #connection: Connection | null = null;
  #former: Former | null = null;

  constructor(graph: Graph, events: LinkEvents) {
    this.#graph = graph;
    this.#events = events;
  }

  /** Begins a connection; `streams` are those that were known before there was one. */
  async start(microphone: () => MediaStreamTrack | null, streams: readonly (readonly [Id, number])[]): Promise<void> {
    this.stop();
    const connection = new Connection(microphone(), {
      media: (is) => {
        if (this.#connection !== connection) return;
        this.#events.media(is);
        if (is === 'interrupted') void this.askPath();
      },
      track: (userId, heard) => {
        if (this.#connection !== connection) return;
        if (this.#former === null) this.#graph.add(userId, heard);
        else this.#former.heardBy(userId, heard);
      },
    });
    this.#connection = connection;
    for (const [userId, ssrc] of streams) connection.add(userId, ssrc);
    try {
      const { fragment, ssrc } = await connection.offer();
      if (this.#connection !== connection) return;
      this.#events.offered(fragment, ssrc);
      // It may have been opened meanwhile.
      await connection.sendTrack(microphone());
    } catch (error) {
      this.#refused(connection, error);
    }
  }

  async describe(fragment: string, bitrate: number): Promise<void> {
    const connection = this.#connection;
    if (connection === null) return;
    try {
      await connection.describe(fragment);
      await connection.limitBitrate(bitrate);
    } catch (error) {
      this.#refused(connection, error);
    }
  }

  /** Ends the connection to the current server. */
  stop(): void {
    if (this.#connection === null) return;
    this.#former?.forgetAll();
    this.#graph.drop(this.#connection.tracks());
    this.#connection.close();
    this.#connection = null;
  }

  /** That connection is of the server before from now on. `socket` gives its socket, which says when the server has ended it. */
  giveWay(socket: (ended: () => void) => WebSocket | null): void {
    if (this.#connection === null) return;
    this.#former?.end();
    const former = new Former(this.#connection, this.#graph, socket, () => {
      if (this.#former === former) this.#former = null;
    });
    this.#former = former;
    this.#connection = null;
  }

  endFormer(): void {
    this.#former?.end();
  }

  add(userId: Id, ssrc: number): void {
    this.#connection?.add(userId, ssrc);
  }

  remove(userId: Id): void {
    this.#connection?.remove(userId);
    this.#former?.forget(userId);
    // Who is still heard by the server before has left the new one only, to come back to it.
    if (this.#former?.plays(userId) !== true) this.#graph.remove(userId);
  }

  async sendTrack(track: MediaStreamTrack | null): Promise<void> {
    await Promise.all([this.#connection?.sendTrack(track), this.#former?.sendTrack(track)]);
  }

  async stats(): Promise<LinkStats | null> {
    return this.#connection?.stats() ?? null;
  }

  sections(): ReturnType<Connection['sections']> {
    return this.#connection?.sections() ?? [];
  }

  async askPath(): Promise<void> {
    const connection = this.#connection;
    const isGone = await connection?.isPathGone().catch(() => false);
    if (isGone === true && this.#connection === connection) this.#events.media('elsewhere');
  }

  #refused(connection: Connection, error: unknown): void {
    if (this.#connection !== connection) return;
    console.warn('no media', error);
    this.#events.media('failed');
  }
}
