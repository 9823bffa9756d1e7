// A session with the main gateway: connects, identifies, beats, resumes. Decides only: sockets, clocks and randomness are
// the caller's, who gives in what happened and does the effects that come out.

import {
  GATEWAY_VERSION,
  GatewayClose,
  Op,
  encodeHeartbeat,
  encodeIdentify,
  encodeResume,
  readServerFrame,
  type Dispatch,
  type ServerFrame,
} from '../protocol/gateway';
import { backoffMs } from './backoff';

export type GatewayPhase =
  /** Neither connected nor going to be. */
  | 'stopped'
  /** A socket was asked for, or HELLO is awaited. */
  | 'connecting'
  /** IDENTIFY or RESUME was sent. */
  | 'identifying'
  | 'resuming'
  | 'ready'
  /** Between two attempts. */
  | 'waiting';

/** Why the session cannot go on. */
export type GatewayFailure = 'token' | 'refused';

export interface GatewayState {
  phase: GatewayPhase;
  /** Scheme, host and port of the gateway this page belongs to. */
  url: string;
  token: string;
  intents: number;
  /** Where a resume goes, and with what. */
  session: { id: string; url: string } | null;
  seq: number | null;
  heartbeatMs: number;
  isAcked: boolean;
  /** Attempts since the session last was ready. */
  attempts: number;
  /** Frames that wait for the session to be ready. */
  queue: string[];
  failure: GatewayFailure | null;
}

export type GatewayTimer = 'heartbeat' | 'patience' | 'reconnect';

export type GatewayInput =
  | { type: 'start'; random: number }
  | { type: 'stop' }
  | { type: 'frame'; text: string; random: number }
  /** The socket closed, or could not be opened. */
  | { type: 'closed'; code: number; random: number }
  | { type: 'timer'; timer: GatewayTimer; random: number }
  /** The machine has a network again, or another one: do not wait any longer, and do not believe in what was connected. */
  | { type: 'online' }
  | { type: 'send'; text: string };

export type GatewayEffect =
  | { type: 'open'; url: string }
  | { type: 'send'; text: string }
  /** Close and forget the socket: what it still says is not given in. */
  | { type: 'close'; code: number }
  /** Sets the timer of that name, replacing it if it runs. */
  | { type: 'timer'; timer: GatewayTimer; ms: number }
  | { type: 'cancel'; timer: GatewayTimer }
  | { type: 'dispatch'; event: Dispatch }
  /** The session could not be resumed: what the server knew of it is gone. */
  | { type: 'lost' };

export interface GatewayTurn {
  state: GatewayState;
  effects: GatewayEffect[];
}

/** How long a gateway may take to say HELLO, READY or RESUMED. */
export const PATIENCE_MS = 15_000;
/** How long the answer to a beat may take when there is reason to doubt the connection. */
const DOUBT_MS = 5_000;
/** Frames that are kept while there is no session; more than a person makes in that time. */
const QUEUE_MAX = 32;
/** A closing code of ours after which the server keeps the session. */
const CLOSE_TO_RESUME = 4000;

export function gatewayState(url: string, token: string, intents: number): GatewayState {
  return {
    phase: 'stopped',
    url,
    token,
    intents,
    session: null,
    seq: null,
    heartbeatMs: 0,
    isAcked: true,
    attempts: 0,
    queue: [],
    failure: null,
  };
}

export type CloseMeaning = 'resume' | 'identify' | 'token' | 'refused';

/** What a close code of the server's asks of the client. */
export function closeMeaning(code: number): CloseMeaning {
  switch (code) {
    case GatewayClose.AUTHENTICATION_FAILED:
      return 'token';
    case GatewayClose.INVALID_SHARD:
    case GatewayClose.SHARDING_REQUIRED:
    case GatewayClose.INVALID_VERSION:
    case GatewayClose.INVALID_INTENTS:
    case GatewayClose.DISALLOWED_INTENTS:
      return 'refused';
    case GatewayClose.NOT_AUTHENTICATED:
    case GatewayClose.ALREADY_AUTHENTICATED:
    case GatewayClose.INVALID_SEQ:
    case GatewayClose.SESSION_TIMED_OUT:
      return 'identify';
    default:
      return 'resume';
  }
}

export function stepGateway(state: GatewayState, input: GatewayInput): GatewayTurn {
  switch (input.type) {
    case 'start':
      return state.phase === 'stopped' ? connect({ ...state, failure: null, attempts: 0 }) : nothing(state);
    case 'stop':
      return stop(state, null, GatewayClose.NORMAL);
    case 'online':
      if (state.phase === 'ready') return beat({ ...state, isAcked: false }, DOUBT_MS);
      return state.phase === 'waiting' ? connect(state) : nothing(state);
    case 'send':
      return send(state, input.text);
    case 'closed':
      return closed(state, input.code, input.random);
    case 'timer':
      return timer(state, input.timer, input.random);
    case 'frame': {
      const frame = readServerFrame(input.text);
      return frame === null ? again(state, input.random) : received(state, frame, input.random);
    }
  }
}

function nothing(state: GatewayState): GatewayTurn {
  return { state, effects: [] };
}

function connect(state: GatewayState): GatewayTurn {
  // A resume goes where the session is. Where that does not answer, the page's own gateway is asked.
  const base = state.session !== null && state.attempts <= 1 ? state.session.url : state.url;
  return {
    state: { ...state, phase: 'connecting', isAcked: true },
    effects: [
      { type: 'cancel', timer: 'reconnect' },
      { type: 'open', url: `${base}/?v=${GATEWAY_VERSION}&encoding=json` },
      { type: 'timer', timer: 'patience', ms: PATIENCE_MS },
    ],
  };
}

function stop(state: GatewayState, failure: GatewayFailure | null, code: number): GatewayTurn {
  const effects: GatewayEffect[] = [
    { type: 'close', code },
    { type: 'cancel', timer: 'heartbeat' },
    { type: 'cancel', timer: 'patience' },
    { type: 'cancel', timer: 'reconnect' },
  ];
  return { state: { ...state, phase: 'stopped', session: null, seq: null, queue: [], failure }, effects };
}

function send(state: GatewayState, text: string): GatewayTurn {
  if (state.phase === 'ready') return { state, effects: [{ type: 'send', text }] };
  if (state.phase === 'stopped') return nothing(state);
  return { state: { ...state, queue: [...state.queue, text].slice(-QUEUE_MAX) }, effects: [] };
}

/** The connection is of no more use; the session may be. */
function again(state: GatewayState, random: number): GatewayTurn {
  return wait(state, random, [{ type: 'close', code: CLOSE_TO_RESUME }]);
}

function wait(state: GatewayState, random: number, before: GatewayEffect[], ms?: number): GatewayTurn {
  const attempts = state.attempts + 1;
  return {
    state: { ...state, phase: 'waiting', attempts },
    effects: [
      ...before,
      { type: 'cancel', timer: 'heartbeat' },
      { type: 'cancel', timer: 'patience' },
      { type: 'timer', timer: 'reconnect', ms: ms ?? backoffMs(attempts, random) },
    ],
  };
}

function forget(state: GatewayState): GatewayTurn {
  const effects: GatewayEffect[] = state.session === null ? [] : [{ type: 'lost' }];
  return { state: { ...state, session: null, seq: null }, effects };
}

function closed(state: GatewayState, code: number, random: number): GatewayTurn {
  if (state.phase === 'stopped' || state.phase === 'waiting') return nothing(state);
  const meaning = closeMeaning(code);
  if (meaning === 'token' || meaning === 'refused') return stop(state, meaning, GatewayClose.NORMAL);
  if (meaning === 'resume') return wait(state, random, []);
  const { state: forgotten, effects } = forget(state);
  return wait(forgotten, random, effects);
}

function timer(state: GatewayState, which: GatewayTimer, random: number): GatewayTurn {
  if (which === 'reconnect') return state.phase === 'waiting' ? connect(state) : nothing(state);
  if (state.phase === 'stopped' || state.phase === 'waiting') return nothing(state);
  if (which === 'patience') return again(state, random);
  // A beat that nobody acknowledged: the connection is dead, whatever the socket says.
  return state.isAcked ? beat({ ...state, isAcked: false }) : again(state, random);
}

function beat(state: GatewayState, ms = state.heartbeatMs): GatewayTurn {
  return {
    state,
    effects: [
      { type: 'send', text: encodeHeartbeat(state.seq) },
      { type: 'timer', timer: 'heartbeat', ms },
    ],
  };
}

function received(state: GatewayState, frame: ServerFrame, random: number): GatewayTurn {
  switch (frame.op) {
    case Op.HELLO:
      return hello(state, frame.d, random);
    case Op.HEARTBEAT:
      return { state, effects: [{ type: 'send', text: encodeHeartbeat(state.seq) }] };
    case Op.HEARTBEAT_ACK:
      return nothing({ ...state, isAcked: true });
    case Op.RECONNECT: {
      // The server asked for it: no punishment, but not all clients at once either.
      const turn = wait(state, random, [{ type: 'close', code: CLOSE_TO_RESUME }], Math.round(random * 500));
      return { ...turn, state: { ...turn.state, attempts: 0 } };
    }
    case Op.INVALID_SESSION:
      return invalid(state, frame.d === true, random);
    case Op.DISPATCH:
      return dispatched(state, frame);
    default:
      return nothing(state);
  }
}

function hello(state: GatewayState, d: unknown, random: number): GatewayTurn {
  const interval = (d as { heartbeat_interval?: unknown } | null)?.heartbeat_interval;
  if (typeof interval !== 'number' || interval <= 0) return again(state, random);
  const { session, seq } = state;
  const resumes = session !== null && seq !== null;
  const text = resumes
    ? encodeResume(state.token, session.id, seq)
    : encodeIdentify(state.token, state.intents);
  return {
    state: { ...state, phase: resumes ? 'resuming' : 'identifying', heartbeatMs: interval, isAcked: true },
    effects: [
      { type: 'timer', timer: 'heartbeat', ms: Math.round(interval * random) },
      { type: 'timer', timer: 'patience', ms: PATIENCE_MS },
      { type: 'send', text },
    ],
  };
}

function invalid(state: GatewayState, mayResume: boolean, random: number): GatewayTurn {
  const { state: kept, effects } = mayResume ? nothing(state) : forget(state);
  // The protocol asks for one to five seconds.
  const ms = Math.round(1_000 + 4_000 * random);
  return wait(kept, random, [...effects, { type: 'close', code: CLOSE_TO_RESUME }], ms);
}

function dispatched(state: GatewayState, frame: ServerFrame): GatewayTurn {
  const event = { t: frame.t ?? '', d: frame.d } as Dispatch;
  let next: GatewayState = { ...state, seq: frame.s ?? state.seq };
  const effects: GatewayEffect[] = [{ type: 'dispatch', event }];
  if (event.t === 'READY') {
    next = { ...next, session: { id: event.d.session_id, url: event.d.resume_gateway_url } };
  }
  if (event.t === 'READY' || event.t === 'RESUMED') {
    effects.push({ type: 'cancel', timer: 'patience' });
    effects.push(...next.queue.map((text): GatewayEffect => ({ type: 'send', text })));
    next = { ...next, phase: 'ready', attempts: 0, queue: [] };
  }
  return { state: next, effects };
}
