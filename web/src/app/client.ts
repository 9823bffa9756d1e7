// A signed-in client: the gateway session, what it knows, and the call, as signals for the pages to show.

import { batch, signal } from '@preact/signals';

import { Intent, type Dispatch } from '../protocol/gateway';
import type { Id } from '../protocol/objects';
import { Call } from '../media/call';
import { GatewayClient } from '../media/gateway-client';
import type { LinkStats } from '../media/stats';
import type { GatewayFailure, GatewayPhase } from '../session/gateway';
import { EMPTY_STORE, addHistory, applyEvent, type Store } from '../session/store';
import { voiceState, type VoiceState } from '../session/voice-state';
import { attempt, notify } from './notices';
import { Rest } from './rest';
import { change, rememberLeaving, settings, wasLeaving } from './settings';
import { endSentence, microphoneSentence } from './sentences';

const INTENTS =
  Intent.GUILDS |
  Intent.GUILD_MEMBERS |
  Intent.GUILD_VOICE_STATES |
  Intent.GUILD_PRESENCES |
  Intent.GUILD_MESSAGES |
  Intent.GUILD_MESSAGE_TYPING |
  Intent.MESSAGE_CONTENT;

const STATS_MS = 2_000;
const TYPING_MS = 9_000;
const PAGE = 50;

/** ws: or wss: and the host this page came from. */
export const SOCKET_ORIGIN = `${location.protocol === 'https:' ? 'wss:' : 'ws:'}//${location.host}`;

export class Client {
  readonly rest: Rest;
  readonly store = signal<Store>(EMPTY_STORE);
  readonly phase = signal<GatewayPhase>('connecting');
  readonly failure = signal<GatewayFailure | null>(null);
  readonly voice = signal<VoiceState>(voiceState(''));
  readonly speaking = signal<ReadonlySet<Id>>(new Set());
  readonly levelDb = signal(-100);
  readonly link = signal<LinkStats | null>(null);
  /** Who types where, until when. */
  readonly typing = signal<Readonly<Record<Id, Readonly<Record<Id, number>>>>>({});

  readonly #gateway: GatewayClient;
  #call: Call | null = null;
  #voiceWay: 'same-origin' | 'direct' = 'same-origin';
  #stats: ReturnType<typeof setInterval> | undefined;
  #meterLooks = 0;
  /** A page that goes leaves the channel: nobody should talk to an empty chair until the server finds out. */
  readonly #goes = () => {
    if (this.voice.value.phase !== 'disconnected') rememberLeaving();
    this.leave();
  };

  constructor(token: string) {
    this.rest = new Rest(token);
    this.#gateway = new GatewayClient(SOCKET_ORIGIN, token, INTENTS, {
      dispatch: (event) => this.#dispatched(event),
      lost: () => this.#call?.mainSessionLost(),
      changed: ({ phase, failure }) =>
        batch(() => {
          this.phase.value = phase;
          this.failure.value = failure;
        }),
    });
  }

  async start(): Promise<void> {
    this.#gateway.start();
    addEventListener('pagehide', this.#goes);
    if (wasLeaving()) notify('info', 'You left the voice channel when this page was loaded anew. Choose the channel to join again.');
    const response = await fetch(new URL('client.json', document.baseURI)).catch(() => null);
    const told = (await response?.json().catch(() => null)) as { voice?: string } | null;
    if (told?.voice === 'direct') this.#voiceWay = 'direct';
  }

  stop(): void {
    this.#call?.leave();
    this.#gateway.stop();
    removeEventListener('pagehide', this.#goes);
    clearInterval(this.#stats);
  }

  get call(): Call | null {
    return this.#call;
  }

  join(guildId: Id, channelId: Id): void {
    const bitrate = this.store.value.guilds[guildId]?.channels[channelId]?.bitrate;
    this.#needCall()?.join(guildId, channelId, bitrate);
  }

  leave(): void {
    this.#call?.leave();
  }

  setMute(selfMute: boolean): void {
    // Who unmutes wants to be heard, and to hear.
    change({ selfMute, selfDeaf: selfMute ? settings.value.selfDeaf : false });
    this.#applyFlags();
  }

  setDeaf(selfDeaf: boolean): void {
    change({ selfDeaf });
    this.#applyFlags();
  }

  setVolume(userId: Id, volume: number): void {
    change({ volumes: { ...settings.value.volumes, [userId]: volume } });
    this.#call?.graph.setVolume(userId, volume);
  }

  /** Applies what was changed in the settings. */
  applySettings(needsReopening: boolean): void {
    this.#call?.setMicrophone(settings.value, needsReopening);
    this.#call?.graph.setOutput(settings.value.outputId).catch(() => notify('error', 'That output device cannot be used. Choose another one.'));
  }

  /** Shows the level of the microphone, for as long as somebody looks at it. */
  lookAtMeter(): () => void {
    const call = this.#needCall();
    this.#meterLooks += 1;
    if (call !== null && !call.hasMicrophone) {
      void call.graph.resume();
      void call.reopenMicrophone();
    }
    return () => {
      this.#meterLooks -= 1;
      if (this.#meterLooks === 0 && this.voice.value.phase === 'disconnected') call?.closeMicrophone();
    };
  }

  /** The newest messages of a channel, or the ones before those known. */
  async loadHistory(channelId: Id): Promise<void> {
    const known = this.store.value.histories[channelId];
    if (known?.hasBeginning === true) return;
    const page = await this.rest.messages(channelId, known?.messages[0]?.id ?? null, PAGE);
    this.store.value = addHistory(this.store.value, channelId, page, page.length < PAGE);
  }

  async send(channelId: Id, content: string): Promise<boolean> {
    return attempt(this.rest.send(channelId, content, crypto.randomUUID().slice(0, 20)));
  }

  #needCall(): Call | null {
    const me = this.store.value.me;
    if (me === null) return null;
    this.#call ??= this.#newCall(me.id);
    return this.#call;
  }

  #newCall(userId: Id): Call {
    const call = new Call(
      {
        userId,
        voiceUrl: (endpoint) =>
          this.#voiceWay === 'direct'
            ? `wss://${endpoint}/?v=8`
            : `${SOCKET_ORIGIN}/voice?v=8&endpoint=${encodeURIComponent(endpoint)}`,
        ask: (wish) => this.#gateway.askForVoice(wish),
        microphone: settings.value,
      },
      {
        changed: (state) => this.#voiceChanged(state),
        speaking: (users) => (this.speaking.value = users),
        level: (db) => (this.levelDb.value = db),
        microphoneFailed: (error) => notify('error', microphoneSentence(error)),
      },
    );
    call.mainSession(this.#gateway.state.session?.id ?? '');
    for (const [id, volume] of Object.entries(settings.value.volumes)) call.graph.setVolume(id, volume);
    if (settings.value.outputId !== '') call.graph.setOutput(settings.value.outputId).catch(() => undefined);
    call.setFlags(settings.value.selfMute || settings.value.selfDeaf, settings.value.selfDeaf);
    return call;
  }

  #applyFlags(): void {
    this.#call?.setFlags(settings.value.selfMute || settings.value.selfDeaf, settings.value.selfDeaf);
  }

  #voiceChanged(state: VoiceState): void {
    const before = this.voice.value;
    this.voice.value = state;
    if (state.end !== null && state.end !== before.end) notify('error', endSentence(state.end));
    const isInVoice = state.phase !== 'disconnected';
    if (isInVoice === (before.phase !== 'disconnected')) return;
    clearInterval(this.#stats);
    this.link.value = null;
    if (isInVoice) this.#stats = setInterval(() => void this.#measure(), STATS_MS);
  }

  async #measure(): Promise<void> {
    this.link.value = (await this.#call?.stats().catch(() => null)) ?? null;
  }

  #dispatched(event: Dispatch): void {
    this.store.value = applyEvent(this.store.value, event);
    switch (event.t) {
      case 'READY':
        this.#call?.mainSession(event.d.session_id);
        break;
      case 'VOICE_STATE_UPDATE':
        this.#call?.voiceState(event.d);
        break;
      case 'VOICE_SERVER_UPDATE':
        this.#call?.voiceServer(event.d);
        break;
      case 'TYPING_START':
        this.#types(event.d.channel_id, event.d.user_id, Date.now() + TYPING_MS);
        break;
      case 'MESSAGE_CREATE':
        this.#types(event.d.channel_id, event.d.author.id, 0);
        break;
    }
  }

  #types(channelId: Id, userId: Id, until: number): void {
    const here = { ...this.typing.value[channelId], [userId]: until };
    this.typing.value = { ...this.typing.value, [channelId]: here };
    if (until > 0) setTimeout(() => (this.typing.value = { ...this.typing.value }), TYPING_MS + 50);
  }
}
