// A stay in voice as it runs: the machine of it with its socket, its peer connection, the microphone and what is heard.

import type { VoiceWish } from '../protocol/gateway';
import type { Id, VoiceServerUpdate, VoiceStateUpdate } from '../protocol/objects';
import { Speaking } from '../protocol/voice';
import { stepVoice } from '../session/voice';
import { voiceState, type VoiceEffect, type VoiceInput, type VoiceState, type VoiceTimer } from '../session/voice-state';
import { Graph } from './graph';
import { Hearing } from './hearing';
import { Link } from './link';
import { Microphone, type MicrophoneSettings } from './microphone';
import type { LinkStats } from './stats';
import { Wire } from './wire';

export interface CallOptions {
  userId: Id;
  /** The address of the voice WebSocket of an endpoint. */
  voiceUrl(endpoint: string): string;
  /** Tells the main gateway where the user wants to be. */
  ask(wish: VoiceWish): void;
  /** Tells it that the voice server may be dead. */
  suspect(): void;
  microphone: MicrophoneSettings;
}

export interface CallEvents {
  changed(state: VoiceState): void;
  /** Who is heard right now, this user included. */
  speaking(users: ReadonlySet<Id>): void;
  level(db: number): void;
  /** The microphone cannot be had; the call goes on without it. */
  microphoneFailed(error: unknown): void;
}

const LOOK_MS = 100;

export class Call {
  readonly graph: Graph;
  readonly #options: CallOptions;
  readonly #events: CallEvents;
  readonly #wire: Wire<VoiceTimer>;
  readonly #microphone: Microphone;
  readonly #hearing: Hearing;
  readonly #link: Link;
  #state: VoiceState;
  #bitrate = 64_000;
  #isMicrophoneOpen = false;
  #hasMicrophone = false;
  /** Muted by the server: it drops what this client sends. */
  #isSilenced = false;
  #looking: ReturnType<typeof setInterval> | undefined;
  #mainSession: string | null = null;
  readonly #network = () => this.#step({ type: 'network changed', random: Math.random() });

  constructor(options: CallOptions, events: CallEvents, graph: Graph = new Graph()) {
    this.#options = options;
    this.#events = events;
    this.graph = graph;
    this.#hearing = new Hearing(graph);
    this.#link = new Link(graph, {
      media: (is) => this.#step({ type: 'media', is, random: Math.random() }),
      offered: (fragment, ssrc) => this.#step({ type: 'offered', fragment, ssrc }),
    });
    this.#state = voiceState(options.userId);
    this.#microphone = new Microphone(graph.context, options.microphone, {
      level: (db) => events.level(db),
      open: (isOpen) => this.#opened(isOpen),
      ended: () => this.reopenMicrophone(),
    });
    this.#wire = new Wire({
      frame: (text) => this.#step({ type: 'frame', text, now: Date.now(), random: Math.random() }),
      closed: (code) => this.#step({ type: 'closed', code, random: Math.random() }),
      timer: (timer) => this.#step({ type: 'timer', timer, now: Date.now(), random: Math.random() }),
    });
  }

  get state(): VoiceState {
    return this.#state;
  }

  get hasMicrophone(): boolean {
    return this.#hasMicrophone;
  }

  /** To be called where the user did something: browsers give sound and microphone only then. */
  join(guildId: Id, channelId: Id, bitrate = 64_000): void {
    this.#bitrate = bitrate;
    void this.graph.resume();
    globalThis.addEventListener('online', this.#network);
    if (!this.#hasMicrophone) void this.reopenMicrophone();
    const { selfMute, selfDeaf } = this.#state;
    this.#step({ type: 'join', guildId, channelId, selfMute, selfDeaf });
  }

  leave(): void {
    this.#step({ type: 'leave' });
  }

  setFlags(selfMute: boolean, selfDeaf: boolean): void {
    this.#step({ type: 'flags', selfMute, selfDeaf });
    this.#applyMutes();
  }

  setHeld(isHeld: boolean): void {
    this.#microphone.setHeld(isHeld);
  }

  setMicrophone(settings: MicrophoneSettings, needsReopening: boolean): void {
    this.#microphone.setSettings(settings);
    if (needsReopening && this.#hasMicrophone) void this.reopenMicrophone();
  }

  /** Also to look at the level before a call. */
  async reopenMicrophone(): Promise<void> {
    try {
      await this.#microphone.open();
      this.#hasMicrophone = this.#microphone.track !== null;
      this.#applyMutes();
      await this.#link.sendTrack(this.#microphone.track);
    } catch (error) {
      this.#hasMicrophone = false;
      this.#events.microphoneFailed(error);
    }
  }

  closeMicrophone(): void {
    this.#microphone.close();
    this.#hasMicrophone = false;
  }

  /** From the main gateway. */
  mainSession(id: string): void {
    this.#mainSession = id;
  }

  mainSessionLost(): void {
    this.#step({ type: 'main session lost' });
  }

  voiceState(update: VoiceStateUpdate): void {
    if (update.user_id === this.#options.userId) {
      this.#isSilenced = update.channel_id !== null && (update.mute || update.suppress);
      this.#applyMutes();
    }
    this.#step({ type: 'voice state', update, ownSession: this.#mainSession });
  }

  voiceServer(update: VoiceServerUpdate): void {
    this.#step({ type: 'voice server', update });
  }

  async stats(): Promise<LinkStats | null> {
    return this.#state.isMediaUp ? this.#link.stats() : null;
  }

  sections(): ReturnType<Link['sections']> {
    return this.#link.sections();
  }

  #applyMutes(): void {
    const { selfMute, selfDeaf } = this.#state;
    // What the server drops is not sent, so that nobody is shown to speak who is not heard.
    this.#microphone.setMuted(selfMute || selfDeaf || this.#isSilenced);
    this.graph.setDeaf(selfDeaf);
  }

  #opened(isOpen: boolean): void {
    this.#isMicrophoneOpen = isOpen;
    this.#step({ type: 'speaking', bits: isOpen ? Speaking.VOICE : 0 });
  }

  #step(input: VoiceInput): void {
    const before = this.#state;
    const turn = stepVoice(before, input);
    this.#state = turn.state;
    for (const effect of turn.effects) this.#do(effect);
    if (turn.state === before) return;
    if ((before.phase === 'disconnected') !== (turn.state.phase === 'disconnected')) this.#began(turn.state.phase !== 'disconnected');
    this.#events.changed(turn.state);
  }

  #began(isInVoice: boolean): void {
    clearInterval(this.#looking);
    if (isInVoice) {
      this.#looking = setInterval(() => this.#look(), LOOK_MS);
      return;
    }
    globalThis.removeEventListener('online', this.#network);
    this.#link.endFormer();
    this.closeMicrophone();
    this.#look();
  }

  #do(effect: VoiceEffect): void {
    switch (effect.type) {
      case 'ask':
        this.#options.ask({
          guild_id: effect.guildId,
          channel_id: effect.channelId,
          self_mute: effect.selfMute,
          self_deaf: effect.selfDeaf,
        });
        break;
      case 'suspect':
        this.#options.suspect();
        break;
      case 'open':
        this.#wire.open(this.#options.voiceUrl(effect.endpoint));
        break;
      case 'send':
        this.#wire.send(effect.text);
        break;
      case 'close':
        this.#wire.close(effect.code);
        break;
      case 'timer':
        this.#wire.setTimer(effect.timer, effect.ms);
        break;
      case 'cancel':
        this.#wire.cancel(effect.timer);
        break;
      case 'media start':
        this.#startMedia();
        break;
      case 'media describe':
        void this.#link.describe(effect.fragment, this.#bitrate);
        break;
      case 'media stop':
        this.#stopMedia();
        break;
      case 'former stop':
        this.#link.endFormer();
        break;
      case 'media yield':
        this.#link.giveWay((ended) => this.#wire.release(ended));
        break;
      case 'stream added':
        this.#link.add(effect.userId, effect.ssrc);
        break;
      case 'stream removed':
        this.#link.remove(effect.userId);
        this.#hearing.forget(effect.userId);
        break;
    }
  }

  #startMedia(): void {
    const { speakers } = this.#state;
    void this.#link.start(() => this.#microphone.track, Object.entries(speakers).map(([userId, { ssrc }]) => [userId, ssrc]));
  }

  #stopMedia(): void {
    this.#link.stop();
    this.#hearing.clear(performance.now());
  }

  #look(): void {
    const { phase, userId, isMediaUp } = this.#state;
    const now = performance.now();
    const self = this.#isMicrophoneOpen && phase !== 'disconnected' ? userId : null;
    const speaking = this.#hearing.look(this.graph.users(), self, now);
    if (speaking !== null) this.#events.speaking(speaking);
    if (isMediaUp && this.#hearing.isSilenceDue(now)) void this.#link.askPath();
  }
}
