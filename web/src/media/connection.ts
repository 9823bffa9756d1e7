// The peer connection of one voice session: the microphone in its first section, one more section for each remote stream.

import type { Id } from '../protocol/objects';
import { Path } from './path';
import { answer, clientFragment, microphoneSsrc, readServerFragment, takeStereo, type RemoteStream, type ServerFragment } from './sdp';
import { LossMeter, roundTripMs, type LinkStats } from './stats';

export interface Offer {
  fragment: string;
  ssrc: number;
}

export interface ConnectionEvents {
  media(is: 'up' | 'interrupted' | 'failed'): void;
  /** A remote user is heard by this track from now on. */
  track(userId: Id, track: MediaStreamTrack): void;
}

export class Connection {
  readonly #events: ConnectionEvents;
  readonly #peer = new RTCPeerConnection({ bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' });
  readonly #microphone: RTCRtpTransceiver;
  /** Who is to be heard, and by which stream. */
  readonly #wanted = new Map<Id, number>();
  /**
   * Whose stream a section was last given. Somebody who left keeps it until another needs it: Chromium plays nothing of a stream that was taken
   * from a section and comes back to it, and those who join anew have the stream that they had.
   */
  readonly #given = new Map<RTCRtpTransceiver, RemoteStream>();
  readonly #loss = new LossMeter();
  readonly #path = new Path(this.#peer);
  #server: ServerFragment | null = null;
  #version = 1;
  /** One negotiation at a time; those asked for meanwhile become one. */
  #negotiating: Promise<void> | null = null;
  #isStale = false;
  #isClosed = false;

  constructor(track: MediaStreamTrack | null, events: ConnectionEvents) {
    this.#events = events;
    this.#microphone = this.#peer.addTransceiver(track ?? 'audio', { direction: 'sendrecv' });
    // The second section takes sound from the beginning: see the answer's directions.
    this.#peer.addTransceiver('audio', { direction: 'recvonly' });
    this.#peer.onconnectionstatechange = () => {
      if (this.#isClosed) return;
      if (this.#peer.connectionState === 'connected') events.media('up');
      if (this.#peer.connectionState === 'disconnected') events.media('interrupted');
      if (this.#peer.connectionState === 'failed') events.media('failed');
    };
  }

  /** The offer that begins the session, in the protocol's form. */
  async offer(): Promise<Offer> {
    const sdp = await this.#offerLocally();
    return { fragment: clientFragment(sdp), ssrc: microphoneSsrc(sdp) };
  }

  /** The server's answer to it. */
  async describe(fragment: string): Promise<void> {
    this.#server = readServerFragment(fragment);
    if (this.#server === null) throw new Error('the server described no transport');
    await this.#answerLocally(this.#server);
    this.#isStale = this.#wanted.size > 0;
    if (this.#isStale) this.#renegotiate();
  }

  /** Lets a remote stream be heard: a matter between this page and its browser, which the server is not told. */
  add(userId: Id, ssrc: number): void {
    this.#wanted.set(userId, ssrc);
    const kept = [...this.#given].find(([, given]) => given.userId === userId && given.ssrc === ssrc)?.[0];
    if (kept === undefined) this.#renegotiate();
    else this.#events.track(userId, kept.receiver.track);
  }

  remove(userId: Id): void {
    this.#wanted.delete(userId);
  }

  /** Whatever arrives by it. */
  tracks(): MediaStreamTrack[] {
    return this.#peer.getTransceivers().map(({ receiver }) => receiver.track);
  }

  async sendTrack(track: MediaStreamTrack | null): Promise<void> {
    await this.#microphone.sender.replaceTrack(track);
  }

  /** What the channel allows, in bits a second. */
  async limitBitrate(bitrate: number): Promise<void> {
    const parameters = this.#microphone.sender.getParameters();
    const encoding = parameters.encodings[0];
    if (encoding === undefined || encoding.maxBitrate === bitrate) return;
    encoding.maxBitrate = bitrate;
    await this.#microphone.sender.setParameters(parameters);
  }

  async stats(): Promise<LinkStats> {
    const report = await this.#peer.getStats();
    return { rttMs: roundTripMs(report), ...this.#loss.measure(report) };
  }

  /** Whether what was sent to this machine would arrive where it no longer is. */
  isPathGone(): Promise<boolean> {
    return this.#path.isGone();
  }

  /** The sections as they are, for tests and for support. */
  sections(): { mid: string | null; direction: string | null }[] {
    return this.#peer.getTransceivers().map(({ mid, currentDirection }) => ({ mid, direction: currentDirection }));
  }

  close(): void {
    this.#isClosed = true;
    this.#peer.close();
  }

  #renegotiate(): void {
    this.#isStale = true;
    if (this.#negotiating !== null || this.#server === null) return;
    this.#negotiating = this.#negotiateAll(this.#server).finally(() => {
      this.#negotiating = null;
      if (this.#isStale && !this.#isClosed) this.#renegotiate();
    });
  }

  async #negotiateAll(server: ServerFragment): Promise<void> {
    try {
      while (this.#isStale && !this.#isClosed) {
        this.#isStale = false;
        this.#assign();
        await this.#offerLocally();
        await this.#answerLocally(server);
      }
    } catch (error) {
      this.#isStale = false;
      if (this.#isClosed) return;
      console.warn('the browser refused a description', error);
      this.#events.media('failed');
    }
  }

  /** Gives every wanted stream a section: the one it had, a free one, or a new one at the end. */
  #assign(): void {
    const isHeard = (given: RemoteStream | undefined) => given !== undefined && this.#wanted.get(given.userId) === given.ssrc;
    const given = (transceiver: RTCRtpTransceiver) => this.#given.get(transceiver);
    const sections = this.#peer.getTransceivers().filter((transceiver) => transceiver !== this.#microphone);
    const served = new Set(sections.map(given).filter(isHeard).map((stream) => stream?.userId));
    const free = sections.filter((transceiver) => !isHeard(given(transceiver)));
    for (const [userId, ssrc] of this.#wanted) {
      if (served.has(userId)) continue;
      const at = Math.max(0, free.findIndex((transceiver) => given(transceiver)?.ssrc === ssrc));
      const transceiver = free.splice(at, 1)[0] ?? this.#peer.addTransceiver('audio', { direction: 'recvonly' });
      this.#given.set(transceiver, { userId, ssrc });
      this.#events.track(userId, transceiver.receiver.track);
    }
  }

  async #offerLocally(): Promise<string> {
    const { sdp = '' } = await this.#peer.createOffer();
    try {
      await this.#peer.setLocalDescription({ type: 'offer', sdp: takeStereo(sdp) });
    } catch {
      // A browser that lets nobody change its offer plays music in one channel.
      await this.#peer.setLocalDescription({ type: 'offer', sdp });
    }
    return this.#peer.localDescription?.sdp ?? sdp;
  }

  async #answerLocally(server: ServerFragment): Promise<void> {
    const offer = this.#peer.localDescription?.sdp ?? '';
    const streams = new Map<string, RemoteStream>();
    for (const [{ mid }, given] of this.#given) if (mid !== null) streams.set(mid, given);
    this.#version += 1;
    await this.#peer.setRemoteDescription({ type: 'answer', sdp: answer(offer, server, streams, this.#version) });
  }
}
