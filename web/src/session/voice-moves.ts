// The steps that a stay in voice is made of: connect, ask, tear down, begin again, end.

import { backoffMs } from './backoff';
import type { VoiceEnd } from './voice-close';
import type { VoiceEffect, VoicePhase, VoiceState, VoiceTurn } from './voice-state';

/** How long the main gateway and the voice server may take to answer. The main gateway refuses by silence. */
export const PATIENCE_MS = 10_000;
/** How long media may take to stand after READY. */
export const MEDIA_PATIENCE_MS = 12_000;
/**
 * How long media that stood may take to come back once signalling is. Browsers repeat their checks on a silent path within this time; a path
 * that carries none of them leads nowhere, as after a change of networks, and each second more is one of silence then.
 */
export const MEDIA_RETURN_MS = 3_000;
/** Attempts to be connected for the first time, and to come back: a server's restart is worth waiting for. */
export const FIRST_ATTEMPTS_MAX = 4;
const ATTEMPTS_MAX = 12;
/** A closing code of ours after which the server keeps the session. */
export const CLOSE_TO_RETURN = 4000;

/** As it is before there is a socket. */
const NOTHING_YET = {
  hasSocket: false,
  isDescribed: false,
  isMediaUp: false,
  isResuming: false,
  isElsewhere: false,
  speakers: {},
  seqAck: -1,
  signallingMs: null,
} satisfies Partial<VoiceState>;

export function nothing(state: VoiceState): VoiceTurn {
  return { state, effects: [] };
}

/** Ends the stay: by the user's wish, or because of something that the user is told. */
export function leave(state: VoiceState, end: VoiceEnd | null): VoiceTurn {
  const turn = ended(state, end);
  if (state.guildId === null) return turn;
  const { guildId, selfMute, selfDeaf } = state;
  return { ...turn, effects: [...turn.effects, { type: 'ask', guildId, channelId: null, selfMute, selfDeaf }] };
}

/** The stay is over already, as far as the main gateway is concerned. */
export function ended(state: VoiceState, end: VoiceEnd | null): VoiceTurn {
  const torn = tearDown(state, 1000);
  const over = { guildId: null, channelId: null, asked: null, server: null, sessionId: null, wasConnected: false };
  return {
    state: { ...torn.state, ...over, phase: 'disconnected', attempts: 0, resumes: 0, expectsLeft: false, end },
    effects: [...torn.effects, { type: 'cancel', timer: 'patience' }, { type: 'cancel', timer: 'retry' }],
  };
}

/** Ends socket and media, not the wish to be in the channel. */
export function tearDown(state: VoiceState, code = CLOSE_TO_RETURN): VoiceTurn {
  const effects: VoiceEffect[] = [];
  if (state.hasSocket) effects.push({ type: 'close', code });
  effects.push({ type: 'cancel', timer: 'heartbeat' }, { type: 'cancel', timer: 'media' }, { type: 'media stop' });
  for (const [userId, { ssrc }] of Object.entries(state.speakers)) effects.push({ type: 'stream removed', userId, ssrc });
  return { state: { ...state, ...NOTHING_YET }, effects };
}

/** Another voice server takes over: socket and media go on as they are until the new ones stand. */
export function giveWay(state: VoiceState): VoiceTurn {
  const effects: VoiceEffect[] = [{ type: 'cancel', timer: 'heartbeat' }, { type: 'cancel', timer: 'media' }, { type: 'media yield' }];
  return { state: { ...state, ...NOTHING_YET }, effects };
}

/** What a state is called that would be `first` if the user had not been connected before. */
export function phase(state: VoiceState, first: VoicePhase): VoicePhase {
  return state.wasConnected ? 'reconnecting' : first;
}

export function connect(state: VoiceState, isResuming = false): VoiceTurn {
  if (state.server === null) return ask(state);
  return {
    state: { ...state, hasSocket: true, isResuming, beatsMissed: 0, phase: phase(state, 'authenticating') },
    effects: [
      { type: 'open', endpoint: state.server.endpoint },
      { type: 'timer', timer: 'patience', ms: PATIENCE_MS },
    ],
  };
}

export function ask(state: VoiceState): VoiceTurn {
  const { guildId, channelId, selfMute, selfDeaf, sessionId } = state;
  if (guildId === null) return nothing(state);
  return {
    state: { ...state, server: null, phase: phase(state, 'awaiting endpoint') },
    effects: [
      // To a wish that is fulfilled the main gateway says nothing for as long as the voice server waits for this client.
      ...(sessionId === null || state.expectsLeft ? [] : [{ type: 'suspect' as const }]),
      { type: 'ask', guildId, channelId, selfMute, selfDeaf },
      { type: 'timer', timer: 'patience', ms: PATIENCE_MS },
    ],
  };
}

/** Everything anew: a voice connection of its own, or the main gateway is asked for one. */
export function again(state: VoiceState, how: 'identify' | 'ask', random: number): VoiceTurn {
  const attempts = state.attempts + 1;
  if (attempts > (state.wasConnected ? ATTEMPTS_MAX : FIRST_ATTEMPTS_MAX)) {
    return leave(state, state.server === null ? 'failed' : 'no route');
  }
  const torn = tearDown(state);
  // A voice server that does not answer any more may have been replaced: the main gateway knows.
  const retry = how === 'identify' && attempts % 3 !== 0 ? 'identify' : 'ask';
  const ms = attempts === 1 ? Math.round(random * 500) : backoffMs(attempts - 1, random);
  return {
    state: { ...torn.state, attempts, retry, resumes: 0, phase: phase(state, 'authenticating') },
    effects: [...torn.effects, { type: 'cancel', timer: 'patience' }, { type: 'timer', timer: 'retry', ms }],
  };
}
