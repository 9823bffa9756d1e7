// A signed-in client: the gateway session, what it knows, and the call, as signals for the pages to show.

import { batch, computed, effect, signal } from '@preact/signals';

import { Intent, type Dispatch } from '../protocol/gateway';
import type { Id, VoiceStateUpdate } from '../protocol/objects';
import { Permission } from '../protocol/permissions';
import { Call } from '../media/call';
import { playCue, type Cue } from '../media/cues';
import type { GateMode } from '../media/gate';
import { GatewayClient } from '../media/gateway-client';
import type { MicrophoneSettings } from '../media/microphone';
import type { LinkStats } from '../media/stats';
import type { GatewayFailure, GatewayPhase } from '../session/gateway';
import { EMPTY_STORE, addHistory, applyEvent, type Store } from '../session/store';
import { voiceState, type VoiceState } from '../session/voice-state';
import { comingOrGoing } from './comings';
import { leaveWithPage } from './leaving';
import { isFull, may } from './model';
import { attempt, notify, say } from './notices';
import { Rest } from './rest';
import { change, settings } from './settings';
import { endSentence, microphoneSentence } from './sentences';
import { Typing } from './typing';
import { beginReading, markRead, meet } from './unread';

const { GUILDS, GUILD_MEMBERS, GUILD_VOICE_STATES, GUILD_PRESENCES, GUILD_MESSAGES, GUILD_MESSAGE_TYPING, MESSAGE_CONTENT } = Intent;
const INTENTS = GUILDS | GUILD_MEMBERS | GUILD_VOICE_STATES | GUILD_PRESENCES | GUILD_MESSAGES | GUILD_MESSAGE_TYPING | MESSAGE_CONTENT;

const STATS_MS = 2_000;
const PAGE = 50;

/** ws: or wss: and the host this page came from. */
export const SOCKET_ORIGIN = `${location.protocol === 'https:' ? 'wss:' : 'ws:'}//${location.host}`;

export class Client {
  readonly rest: Rest;
  readonly store = signal<Store>(EMPTY_STORE);
  readonly phase = signal<GatewayPhase>('connecting');
  /** An attempt to connect failed, and none has succeeded since. */
  readonly isUnreachable = signal(false);
  readonly failure = signal<GatewayFailure | null>(null);
  readonly voice = signal<VoiceState>(voiceState(''));
  readonly speaking = signal<ReadonlySet<Id>>(new Set());
  readonly levelDb = signal(-100);
  /** Asked for, and not to be had. */
  readonly isWithoutMicrophone = signal(false);
  readonly link = signal<LinkStats | null>(null);
  readonly typing = new Typing();

  /** Where the user is in voice, or was let in. */
  readonly voiceChannel = computed(() => {
    const { phase, guildId, channelId } = this.voice.value;
    const guild = phase === 'disconnected' || guildId === null ? undefined : this.store.value.guilds[guildId];
    const channel = channelId === null ? undefined : guild?.channels[channelId];
    return guild === undefined || channel === undefined ? null : { guild, channel };
  });
  /** Voice activity is a permission, which clients respect by themselves. */
  readonly mayUseVoiceActivity = computed(() => {
    const at = this.voiceChannel.value;
    const me = this.store.value.me;
    return at === null || me === null || may(at.guild, me.id, Permission.USE_VAD, at.channel);
  });
  readonly talkMode = computed<GateMode>(() => (this.mayUseVoiceActivity.value ? settings.value.mode : 'push to talk'));

  readonly #gateway: GatewayClient;
  /** Guilds whose end for this user is their own doing. */
  readonly #goingFrom = new Set<Id>();
  readonly #stopEffect: () => void;
  #call: Call | null = null;
  #voiceWay: 'same-origin' | 'direct' = 'same-origin';
  #stats: ReturnType<typeof setInterval> | undefined;
  #meterLooks = 0;
  #stopWatching = (): void => undefined;

  constructor(token: string) {
    this.rest = new Rest(token);
    this.#gateway = new GatewayClient(SOCKET_ORIGIN, token, INTENTS, {
      dispatch: (event) => this.#dispatched(event),
      lost: () => this.#call?.mainSessionLost(),
      changed: ({ phase, failure }) =>
        batch(() => {
          this.phase.value = phase;
          this.failure.value = failure;
          if (phase === 'waiting' || phase === 'ready') this.isUnreachable.value = phase === 'waiting';
        }),
    });
    this.#stopEffect = effect(() => this.#useMicrophone(this.#microphone()));
  }

  async start(): Promise<void> {
    this.#gateway.start();
    this.#stopWatching = leaveWithPage(() => this.voice.value.phase !== 'disconnected', () => this.leave());
    const response = await fetch(new URL('client.json', document.baseURI)).catch(() => null);
    const told = (await response?.json().catch(() => null)) as { voice?: string } | null;
    if (told?.voice === 'direct') this.#voiceWay = 'direct';
  }

  stop(): void {
    this.#call?.leave();
    this.#gateway.stop();
    this.#stopEffect();
    this.#stopWatching();
    clearInterval(this.#stats);
  }

  get call(): Call | null {
    return this.#call;
  }

  join(guildId: Id, channelId: Id): void {
    const guild = this.store.value.guilds[guildId];
    const channel = guild?.channels[channelId];
    if (guild !== undefined && channel !== undefined && isFull(guild, this.store.value.me?.id ?? '', channel)) {
      return notify('error', `${channel.name} is full. Wait until somebody leaves, or join another channel.`);
    }
    this.#needCall()?.join(guildId, channelId, channel?.bitrate);
  }

  leave(): void {
    this.#call?.leave();
  }

  setMute(selfMute: boolean): void {
    // Who unmutes wants to be heard, and to hear.
    change({ selfMute, selfDeaf: selfMute ? settings.value.selfDeaf : false });
    this.#applyFlags();
    this.#cue(selfMute ? 'muted' : 'unmuted');
    // Whoever unmutes may have allowed the microphone meanwhile.
    if (!selfMute && this.voice.value.phase !== 'disconnected' && this.#call?.hasMicrophone === false) void this.#call.reopenMicrophone();
  }

  setDeaf(selfDeaf: boolean): void {
    change({ selfDeaf });
    this.#applyFlags();
    this.#cue(selfDeaf ? 'muted' : 'unmuted');
  }

  setVolume(userId: Id, volume: number): void {
    change({ volumes: { ...settings.value.volumes, [userId]: volume } });
    this.#call?.graph.setVolume(userId, volume);
  }

  /** Applies what was changed in the settings. */
  applySettings(needsReopening: boolean): void {
    this.#useMicrophone(this.#microphone(), needsReopening);
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
        suspect: () => this.#gateway.suspectVoiceServer(),
        microphone: this.#microphone(),
      },
      {
        changed: (state) => this.#voiceChanged(state),
        speaking: (users) => (this.speaking.value = users),
        level: (db) =>
          batch(() => {
            this.levelDb.value = db;
            this.isWithoutMicrophone.value = false;
          }),
        microphoneFailed: (error) => {
          this.isWithoutMicrophone.value = true;
          notify('error', microphoneSentence(error));
        },
      },
    );
    call.mainSession(this.#gateway.state.session?.id ?? '');
    for (const [id, volume] of Object.entries(settings.value.volumes)) call.graph.setVolume(id, volume);
    if (settings.value.outputId !== '') call.graph.setOutput(settings.value.outputId).catch(() => undefined);
    call.setFlags(settings.value.selfMute || settings.value.selfDeaf, settings.value.selfDeaf);
    return call;
  }

  #useMicrophone(how: MicrophoneSettings, needsReopening = false): void {
    this.#call?.setMicrophone(how, needsReopening);
  }

  #microphone(): MicrophoneSettings {
    return { ...settings.value, mode: this.talkMode.value };
  }

  #applyFlags(): void {
    this.#call?.setFlags(settings.value.selfMute || settings.value.selfDeaf, settings.value.selfDeaf);
  }

  #voiceChanged(state: VoiceState): void {
    const before = this.voice.value;
    this.voice.value = state;
    if (state.end !== null && state.end !== before.end) notify('error', endSentence(state.end));
    if (state.phase === 'voice connected' && !before.wasConnected) this.#cue('joined');
    if (state.phase === 'disconnected' && before.wasConnected) this.#cue('left');
    if (state.phase === 'reconnecting' && before.phase === 'voice connected') this.#gateway.networkChanged();
    const isInVoice = state.phase !== 'disconnected';
    if (isInVoice === (before.phase !== 'disconnected')) return;
    clearInterval(this.#stats);
    this.link.value = null;
    if (isInVoice) this.#stats = setInterval(() => void this.#measure(), STATS_MS);
  }

  async #measure(): Promise<void> {
    this.link.value = (await this.#call?.stats().catch(() => null)) ?? null;
  }

  #cue(cue: Cue): void {
    if (settings.value.cues && this.#call !== null) playCue(this.#call.graph.context, cue);
  }

  /** Leaves a guild, or ends it. */
  async goFrom(guildId: Id, doing: Promise<void>): Promise<void> {
    this.#goingFrom.add(guildId);
    await doing.catch((error: unknown) => {
      this.#goingFrom.delete(guildId);
      throw error;
    });
  }

  #dispatched(event: Dispatch): void {
    if (event.t === 'VOICE_STATE_UPDATE') this.#tellOfOthers(event.d);
    if (event.t === 'GUILD_DELETE' && event.d.unavailable !== true && !this.#goingFrom.delete(event.d.id)) {
      notify('info', `You are no longer in ${this.store.value.guilds[event.d.id]?.name || 'a guild'}: it was deleted, or you were removed.`);
    }
    this.store.value = applyEvent(this.store.value, event);
    switch (event.t) {
      case 'READY':
        this.#call?.mainSession(event.d.session_id);
        beginReading(event.d.user.id);
        break;
      case 'GUILD_CREATE':
        meet(event.d.channels);
        break;
      case 'CHANNEL_CREATE':
        meet([event.d]);
        break;
      case 'VOICE_STATE_UPDATE':
        this.#call?.voiceState(event.d);
        break;
      case 'VOICE_SERVER_UPDATE':
        this.#call?.voiceServer(event.d);
        break;
      case 'TYPING_START':
        this.typing.begins(event.d.channel_id, event.d.user_id);
        break;
      case 'MESSAGE_CREATE':
        this.typing.ends(event.d.channel_id, event.d.author.id);
        if (event.d.author.id === this.store.value.me?.id) markRead(event.d.channel_id, event.d.id);
        break;
    }
  }

  /** Before the store knows. */
  #tellOfOthers(update: VoiceStateUpdate): void {
    const { phase, channelId } = this.voice.value;
    const news = phase === 'disconnected' || channelId === null ? null : comingOrGoing(this.store.value, channelId, update);
    if (news === null) return;
    this.#cue(news.cue);
    say(news.words);
  }
}
