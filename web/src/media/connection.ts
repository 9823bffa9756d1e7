// The peer connection of one voice session: the microphone in its first section, one more section for each remote stream.

import type { Id } from '../protocol/objects';
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

interface Assigned {
  ssrc: number;
  transceiver: RTCRtpTransceiver;
}

export class Connection {
  readonly #events: ConnectionEvents;
  readonly #peer = new RTCPeerConnection({ bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' });
  readonly #microphone: RTCRtpTransceiver;
  /** Who is to be heard, by user, and through which section. */
  readonly #wanted = new Map<Id, number>();
  readonly #assigned = new Map<Id, Assigned>();
  readonly #loss = new LossMeter();
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
    this.#renegotiate();
  }

  remove(userId: Id): void {
    if (this.#wanted.delete(userId)) this.#renegotiate();
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

  /** Gives every wanted stream a section: its own, one that somebody left, or a new one at the end. */
  #assign(): void {
    for (const userId of this.#assigned.keys()) {
      if (!this.#wanted.has(userId)) this.#assigned.delete(userId);
    }
    const taken = new Set([this.#microphone, ...[...this.#assigned.values()].map(({ transceiver }) => transceiver)]);
    const free = this.#peer.getTransceivers().filter((transceiver) => !taken.has(transceiver));
    for (const [userId, ssrc] of this.#wanted) {
      const known = this.#assigned.get(userId);
      const transceiver = known?.transceiver ?? free.shift() ?? this.#peer.addTransceiver('audio', { direction: 'recvonly' });
      if (known === undefined) this.#events.track(userId, transceiver.receiver.track);
      this.#assigned.set(userId, { ssrc, transceiver });
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
    for (const [userId, { ssrc, transceiver }] of this.#assigned) {
      if (transceiver.mid !== null) streams.set(transceiver.mid, { userId, ssrc });
    }
    this.#version += 1;
    await this.#peer.setRemoteDescription({ type: 'answer', sdp: answer(offer, server, streams, this.#version) });
  }
}
