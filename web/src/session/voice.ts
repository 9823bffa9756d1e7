// A stay in voice, from the wish to be in a channel to media that flows: voice gateway version 8, in WebRTC mode.
// Decides only. What arrives on the voice socket is read in ./voice-frames.

import { encodeNoRoute, encodeSelectWebrtc, encodeSpeaking, readVoiceFrame } from '../protocol/voice';
import type { VoiceServerUpdate, VoiceStateUpdate } from '../protocol/objects';
import { backoffMs } from './backoff';
import { endOfClose, voiceCloseMeaning } from './voice-close';
import { receivedFrame } from './voice-frames';
import { heartbeat } from './voice-heartbeat';
import {
  CLOSE_TO_RETURN,
  FIRST_ATTEMPTS_MAX,
  PATIENCE_MS,
  again,
  ask,
  connect,
  ended,
  giveWay,
  leave,
  nothing,
  phase,
  tearDown,
} from './voice-moves';
import type { VoiceEffect, VoiceInput, VoiceState, VoiceTimer, VoiceTurn } from './voice-state';

const RESUMES_MAX = 5;
const FORMER_STOP: VoiceEffect = { type: 'former stop' };

export function stepVoice(state: VoiceState, input: VoiceInput): VoiceTurn {
  switch (input.type) {
    case 'join':
      return join(state, input);
    case 'leave':
      return state.phase === 'disconnected' ? nothing(state) : leave(state, null);
    case 'flags':
      return flags({ ...state, selfMute: input.selfMute, selfDeaf: input.selfDeaf });
    case 'voice state':
      return voiceStateUpdated(state, input.update, input.ownSession);
    case 'voice server':
      return voiceServerUpdated(state, input.update);
    case 'main session lost':
      return mainSessionLost(state);
    case 'closed':
      return state.hasSocket ? closed({ ...state, hasSocket: false }, input.code, input.random) : nothing(state);
    case 'timer':
      return timer(state, input.timer, input.now, input.random);
    case 'offered':
      return offered({ ...state, ssrc: input.ssrc }, input);
    case 'media':
      return media(state, input.is, input.random);
    case 'speaking':
      return speaking(state, input.bits);
    case 'network changed':
      // Where media still stands, ICE finds out by itself whether the new network carries it.
      return state.phase === 'reconnecting' && !state.isMediaUp ? retryNow(state) : nothing(state);
    case 'frame': {
      const frame = readVoiceFrame(input.text);
      if (frame === null || !state.hasSocket) return nothing(state);
      return receivedFrame(state, frame, input.now, input.random);
    }
  }
}

function join(state: VoiceState, to: { guildId: string; channelId: string; selfMute: boolean; selfDeaf: boolean }): VoiceTurn {
  const { guildId, channelId, selfMute, selfDeaf } = to;
  const effects: VoiceEffect[] = [
    { type: 'ask', guildId, channelId, selfMute, selfDeaf },
    { type: 'timer', timer: 'patience', ms: PATIENCE_MS },
  ];
  const flagged = { ...state, selfMute, selfDeaf, end: null };
  if (state.phase === 'voice connected') {
    if (state.guildId === guildId && state.channelId === channelId) return nothing(flagged);
    // A channel that refuses leaves the user where they are.
    return { state: { ...flagged, asked: { guildId, channelId } }, effects };
  }
  const torn = tearDown(flagged);
  const fresh = { attempts: 0, resumes: 0, wasConnected: false, sessionId: null, server: null, asked: null };
  return {
    state: { ...torn.state, ...fresh, guildId, channelId, phase: 'awaiting endpoint', expectsLeft: false },
    effects: [...torn.effects, FORMER_STOP, ...effects],
  };
}

function flags(state: VoiceState): VoiceTurn {
  const at = state.asked ?? (state.guildId !== null && state.channelId !== null ? state : null);
  if (at === null || at.guildId === null || state.phase === 'disconnected') return nothing(state);
  const { selfMute, selfDeaf } = state;
  return { state, effects: [{ type: 'ask', guildId: at.guildId, channelId: at.channelId, selfMute, selfDeaf }] };
}

function voiceStateUpdated(state: VoiceState, update: VoiceStateUpdate, ownSession: string | null): VoiceTurn {
  if (state.phase === 'disconnected' || update.user_id !== state.userId) return nothing(state);
  if (update.channel_id === null) {
    if (update.session_id !== state.sessionId || update.guild_id !== state.guildId) return nothing(state);
    if (state.expectsLeft) return nothing({ ...state, expectsLeft: false });
    // On the way to another guild, the end of the stay in this one is no news.
    if (state.asked !== null && state.asked.guildId !== update.guild_id) return nothing(state);
    return ended(state, 'put out');
  }
  if (update.session_id !== ownSession) {
    // Another client of the same user; before ours is in, it may still be about the past.
    return state.sessionId === null ? nothing(state) : ended(state, 'elsewhere');
  }
  const asked = state.asked?.channelId === update.channel_id ? null : state.asked;
  const at = { guildId: update.guild_id, channelId: update.channel_id, sessionId: update.session_id };
  const isAnswered = state.asked !== null && asked === null;
  // A move is not a reconnection: it begins a stay.
  const wasConnected = state.wasConnected && state.channelId === update.channel_id;
  return { state: { ...state, ...at, asked, wasConnected }, effects: isAnswered ? [{ type: 'cancel', timer: 'patience' }] : [] };
}

function voiceServerUpdated(state: VoiceState, update: VoiceServerUpdate): VoiceTurn {
  if (state.phase === 'disconnected' || update.guild_id !== state.guildId) return nothing(state);
  // A stay that goes on elsewhere is heard where it was until then.
  const goesOn = update.endpoint !== null && state.wasConnected && state.isMediaUp;
  const torn = goesOn ? giveWay(state) : tearDown(state);
  // A second update before the first one's server stands leaves what is heard until then.
  const isElsewhere = update.endpoint === null || !state.wasConnected;
  const effects: VoiceEffect[] = [...torn.effects, ...(isElsewhere ? [FORMER_STOP] : []), { type: 'cancel', timer: 'retry' }, { type: 'cancel', timer: 'patience' }];
  if (update.endpoint === null) {
    return { state: { ...torn.state, server: null, phase: 'awaiting endpoint' }, effects };
  }
  const server = { endpoint: update.endpoint, token: update.token };
  const turn = connect({ ...torn.state, server, resumes: 0 });
  return { ...turn, effects: [...effects, ...turn.effects] };
}

function mainSessionLost(state: VoiceState): VoiceTurn {
  if (state.phase === 'disconnected' || state.guildId === null) return nothing(state);
  const torn = tearDown({ ...state, sessionId: null, server: null });
  const { selfMute, selfDeaf } = state;
  const guildId = state.asked?.guildId ?? state.guildId;
  const channelId = state.asked?.channelId ?? state.channelId;
  return {
    state: { ...torn.state, guildId, channelId, asked: null, phase: phase(state, 'awaiting endpoint') },
    effects: [
      ...torn.effects,
      FORMER_STOP,
      { type: 'cancel', timer: 'retry' },
      { type: 'ask', guildId, channelId, selfMute, selfDeaf },
      // The main gateway has to be reached first.
      { type: 'timer', timer: 'patience', ms: 6 * PATIENCE_MS },
    ],
  };
}

function closed(state: VoiceState, code: number, random: number): VoiceTurn {
  const meaning = voiceCloseMeaning(code);
  if (meaning === 'end') return leave(state, endOfClose(code));
  if (meaning === 'await') {
    const torn = tearDown(state);
    const effects: VoiceEffect[] = [...torn.effects, { type: 'timer', timer: 'patience', ms: PATIENCE_MS }];
    return { state: { ...torn.state, server: null, phase: phase(state, 'awaiting endpoint') }, effects };
  }
  if (meaning === 'rejoin') return again(state, 'ask', random);
  if (!state.isDescribed || state.resumes >= RESUMES_MAX) return again(state, 'identify', random);
  // Media needs no signalling to go on; speakers are kept, since a resume replays only what was missed.
  const resumes = state.resumes + 1;
  return {
    state: { ...state, resumes, retry: 'resume', phase: phase(state, 'connecting') },
    effects: [
      { type: 'cancel', timer: 'heartbeat' },
      { type: 'cancel', timer: 'patience' },
      // Where signalling has no way either, nothing is said against that of media.
      ...(state.wasConnected ? [{ type: 'cancel' as const, timer: 'media' as const }] : []),
      ...(resumes === 1 ? [] : [{ type: 'suspect' as const }]),
      { type: 'timer', timer: 'retry', ms: resumes === 1 ? Math.round(random * 500) : backoffMs(resumes - 1, random) },
    ],
  };
}

function retryNow(state: VoiceState): VoiceTurn {
  if (state.hasSocket || state.server === null) return nothing(state);
  const turn = retry(state);
  return { ...turn, effects: [{ type: 'cancel', timer: 'retry' }, ...turn.effects] };
}

function retry(state: VoiceState): VoiceTurn {
  if (state.retry === 'ask') return ask(state);
  return connect(state, state.retry === 'resume');
}

function timer(state: VoiceState, which: VoiceTimer, now: number, random: number): VoiceTurn {
  if (state.phase === 'disconnected') return nothing(state);
  switch (which) {
    case 'retry':
      return state.hasSocket ? nothing(state) : retry(state);
    case 'heartbeat': {
      const turn = heartbeat(state, now);
      return turn ?? lostSocket(state, random);
    }
    case 'media': {
      if (state.isMediaUp) return nothing(state);
      const turn = again(state, 'identify', random);
      if (state.wasConnected || !state.hasSocket) return turn;
      return { ...turn, effects: [{ type: 'send', text: encodeNoRoute() }, ...turn.effects] };
    }
    case 'patience':
      if (state.asked !== null) return nothing({ ...state, asked: null, end: 'no answer' });
      return state.hasSocket ? lostSocket(state, random) : notAnswered(state);
  }
}

/** A socket that is open by name only. */
function lostSocket(state: VoiceState, random: number): VoiceTurn {
  const turn = closed({ ...state, hasSocket: false }, 1006, random);
  return { ...turn, effects: [{ type: 'close', code: CLOSE_TO_RETURN }, ...turn.effects] };
}

/** The main gateway did not say where the voice server is. */
function notAnswered(state: VoiceState): VoiceTurn {
  // Never let in: a refusal, which is made by silence.
  if (state.sessionId === null && !state.wasConnected) return leave(state, 'no answer');
  const attempts = state.attempts + 1;
  if (attempts > FIRST_ATTEMPTS_MAX) return leave(state, 'failed');
  const turn = ask({ ...state, attempts, expectsLeft: state.sessionId !== null });
  if (state.sessionId === null || state.guildId === null) return turn;
  // The server believes that this client is connected. Leaving first makes it think again.
  const { guildId, selfMute, selfDeaf } = state;
  return { ...turn, effects: [{ type: 'ask', guildId, channelId: null, selfMute, selfDeaf }, ...turn.effects] };
}

function offered(state: VoiceState, offer: Extract<VoiceInput, { type: 'offered' }>): VoiceTurn {
  if (!state.hasSocket) return nothing(state);
  return { state, effects: [{ type: 'send', text: encodeSelectWebrtc(offer.fragment) }] };
}

function media(state: VoiceState, is: 'up' | 'interrupted' | 'elsewhere' | 'failed', random: number): VoiceTurn {
  if (state.phase === 'disconnected' || !state.isDescribed) return nothing(state);
  switch (is) {
    case 'up':
      return {
        state: {
          ...state,
          isMediaUp: true,
          isElsewhere: false,
          wasConnected: true,
          attempts: 0,
          phase: state.hasSocket ? 'voice connected' : 'reconnecting',
        },
        effects: [{ type: 'cancel', timer: 'media' }],
      };
    case 'interrupted':
      return interrupted({ ...state, isMediaUp: false, phase: 'reconnecting' });
    case 'elsewhere':
      return interrupted({ ...state, isMediaUp: false, isElsewhere: true, phase: 'reconnecting' });
    case 'failed':
      // The server has one address and is ICE-lite: there is nothing to restart ICE with, only a new connection.
      return again(state, 'identify', random);
  }
}

/**
 * Nothing arrives any more. Either there is no network, and ICE goes on by itself when there is; or this machine is in another one, where
 * neither the path nor the socket lead anywhere. A new socket tells which: media that does not follow it is not coming back (see RESUMED).
 * Where it is known to be elsewhere, that socket begins a new session (see HELLO).
 */
function interrupted(state: VoiceState): VoiceTurn {
  // One is on its way already.
  if (!state.hasSocket || state.isResuming) return nothing(state);
  const turn = connect(state, true);
  return { ...turn, effects: [{ type: 'close', code: CLOSE_TO_RETURN }, { type: 'cancel', timer: 'heartbeat' }, ...turn.effects] };
}

function speaking(state: VoiceState, bits: number): VoiceTurn {
  if (bits === state.speaking) return nothing(state);
  const next = { ...state, speaking: bits };
  if (!state.hasSocket || !state.isDescribed) return nothing(next);
  return { state: next, effects: [{ type: 'send', text: encodeSpeaking(bits, state.ssrc) }] };
}
