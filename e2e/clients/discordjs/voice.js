// One bot's voice connection: what @discordjs/voice tells, turned into the events of the control protocol.

import {
  createAudioPlayer,
  EndBehaviorType,
  entersState,
  joinVoiceChannel,
  NetworkingStatusCode,
  NoSubscriberBehavior,
  VoiceConnectionStatus,
} from '@discordjs/voice';

import { emit } from './control.js';
import { Ears } from './ears.js';
import { endlessTone } from './tone.js';

// The library itself never gives up on a join.
const JOIN_TIMEOUT_MS = 20_000;

export class Voice {
  #guild;
  #connection;
  #player = createAudioPlayer({ behaviors: { noSubscriber: NoSubscriberBehavior.Play } });
  #ears = new Ears();
  /** The library hands out sound by user; this is the stream each user was last heard on. */
  #ssrcs = new Map();
  #joining;
  #connected;
  #resumed = false;

  constructor(guild) {
    this.#guild = guild;
    this.#player.on('error', (error) => emit('error', { message: `cannot play: ${error.message}` }));
  }

  join(channelId) {
    this.#joining = channelId;
    const connection = joinVoiceChannel({
      channelId,
      guildId: this.#guild.id,
      adapterCreator: this.#guild.voiceAdapterCreator,
      selfDeaf: false,
      selfMute: false,
    });
    if (connection !== this.#connection) this.#adopt(connection);
    this.#awaitJoin(connection, channelId);
  }

  leave() {
    if (!this.#connection) throw new Error('not in a channel');
    this.#connection.destroy();
    this.#connection = undefined;
    this.#connected = undefined;
    emit('disconnected', { code: null });
  }

  tone(hz, on) {
    if (on) this.#player.play(endlessTone(hz));
    else this.#player.stop();
  }

  hear(seconds) {
    const { receiver } = this.#present();
    for (const { userId } of receiver.ssrcMap.map.values()) this.#listenTo(receiver, userId);
    this.#ears.listen();
    setTimeout(() => {
      emit('heard', { streams: this.#ears.report((ssrc) => receiver.ssrcMap.get(ssrc)?.userId) });
    }, seconds * 1_000);
  }

  /** Destroys the socket under the voice WebSocket, as a network would: no closing handshake. */
  cut() {
    const { ws } = this.#present().state.networking?.state ?? {};
    if (!ws) throw new Error('there is no voice connection to cut');
    ws.ws._socket.destroy();
  }

  state() {
    const ready = this.#connection?.state.status === VoiceConnectionStatus.Ready;
    emit('state', {
      channel: this.#connection?.joinConfig.channelId ?? null,
      connected: ready,
      mode: ready ? this.#mode() : null,
    });
  }

  close() {
    this.#player.stop(true);
    this.#connection?.destroy();
  }

  #present() {
    if (!this.#connection) throw new Error('not in a channel');
    return this.#connection;
  }

  #mode() {
    return this.#connection.state.networking.state.connectionData.encryptionMode;
  }

  async #awaitJoin(connection, channelId) {
    try {
      await entersState(connection, VoiceConnectionStatus.Ready, JOIN_TIMEOUT_MS);
    } catch (error) {
      if (this.#joining !== channelId) return;
      this.#joining = undefined;
      emit('error', { message: `cannot join ${channelId}: ${error.message}` });
    }
  }

  #adopt(connection) {
    this.#connection = connection;
    connection.on('error', (error) => emit('error', { message: `voice: ${error.message}` }));
    connection.on('stateChange', (before, after) => this.#changed(before, after));
    connection.receiver.ssrcMap.on('update', (_, { userId, audioSSRC }) => {
      emit('speaking', { user: userId ?? null, ssrc: audioSSRC });
      if (userId) this.#listenTo(connection.receiver, userId);
    });
    connection.subscribe(this.#player);
  }

  #changed(before, after) {
    if (after.networking && after.networking !== before.networking) this.#observe(after.networking);
    if (after.status === before.status) return;
    if (after.status === VoiceConnectionStatus.Ready) this.#ready();
    if (after.status === VoiceConnectionStatus.Disconnected) {
      this.#connected = undefined;
      emit('disconnected', { code: after.closeCode ?? null });
    }
  }

  #observe(networking) {
    networking.on('stateChange', (before, after) => {
      if (after.udp && after.udp !== before.udp) {
        after.udp.on('message', (message) => this.#datagram(message));
      }
    });
    // Before the library's own listener, which tells the connection that it is ready.
    networking.prependListener('stateChange', (before, after) => {
      this.#resumed = before.code === NetworkingStatusCode.Resuming && after.code === NetworkingStatusCode.Ready;
    });
  }

  #datagram(message) {
    const ssrc = this.#ears.datagram(message);
    const user = this.#connection?.receiver.ssrcMap.get(ssrc)?.userId;
    if (user) this.#ssrcs.set(user, ssrc);
  }

  /** A connection that was asked for is a join; one that was not is a move, or in the same channel a new server. */
  #ready() {
    const { channelId } = this.#connection.joinConfig;
    const before = this.#connected;
    this.#connected = channelId;
    if (this.#resumed) {
      emit('voice_resumed');
    } else if (this.#joining === channelId) {
      this.#joining = undefined;
      emit('joined', { channel: channelId, mode: this.#mode() });
    } else if (before === channelId) {
      emit('voice_reconnected');
    } else {
      emit('moved', { channel: channelId, mode: this.#mode() });
    }
  }

  #listenTo(receiver, userId) {
    if (receiver.subscriptions.has(userId)) return;
    const stream = receiver.subscribe(userId, { end: { behavior: EndBehaviorType.Manual } });
    stream.on('data', (packet) => {
      const ssrc = this.#ssrcs.get(userId);
      if (ssrc !== undefined) this.#ears.opus(ssrc, packet);
    });
    stream.on('error', (error) => emit('error', { message: `cannot receive ${userId}: ${error.message}` }));
  }
}
