import { describe, expect, it } from 'vitest';

import { GatewayClose, Op } from '../protocol/gateway';
import { backoffMs } from './backoff';
import { closeMeaning, gatewayState, stepGateway, type GatewayEffect, type GatewayInput, type GatewayState } from './gateway';

const URL = 'wss://page.example';

/** Runs inputs through the machine; what the last one caused is what comes out. */
function run(inputs: GatewayInput[], from: GatewayState = gatewayState(URL, 'token', 1)) {
  let turn: { state: GatewayState; effects: GatewayEffect[] } = { state: from, effects: [] };
  for (const input of inputs) turn = stepGateway(turn.state, input);
  return turn;
}

const frame = (op: number, d: unknown, s: number | null = null, t: string | null = null): GatewayInput => ({
  type: 'frame',
  text: JSON.stringify({ op, d, s, t }),
  random: 0.5,
});
const START: GatewayInput = { type: 'start', random: 0.5 };
const HELLO = frame(Op.HELLO, { heartbeat_interval: 40_000 });
const READY = frame(Op.DISPATCH, { session_id: 's', resume_gateway_url: 'wss://node7.example', user: {}, guilds: [] }, 1, 'READY');
const closedBy = (code: number): GatewayInput => ({ type: 'closed', code, random: 0.5 });
const timer = (timer: 'heartbeat' | 'patience' | 'reconnect'): GatewayInput => ({ type: 'timer', timer, random: 0.5 });
const sent = (effects: GatewayEffect[]) =>
  effects.filter((e) => e.type === 'send').map((e) => JSON.parse(e.text) as { op: number; d: unknown });
const opened = (effects: GatewayEffect[]) => effects.filter((e) => e.type === 'open').map((e) => e.url);
const ready = () => run([START, HELLO, READY]).state;

describe('the gateway session', () => {
  it('connects, identifies and is ready', () => {
    expect(opened(run([START]).effects)).toEqual([`${URL}/?v=10&encoding=json`]);
    const { state, effects } = run([START, HELLO]);
    expect(state.phase).toBe('identifying');
    expect(sent(effects)[0]).toMatchObject({ op: Op.IDENTIFY, d: { token: 'token', intents: 1 } });
    expect(effects).toContainEqual({ type: 'timer', timer: 'heartbeat', ms: 20_000 });
    expect(ready()).toMatchObject({ phase: 'ready', seq: 1, session: { id: 's' } });
  });

  it('beats, and leaves a connection that does not answer', () => {
    const first = run([timer('heartbeat')], ready());
    expect(sent(first.effects)).toEqual([{ op: Op.HEARTBEAT, d: 1 }]);
    expect(first.effects).toContainEqual({ type: 'timer', timer: 'heartbeat', ms: 40_000 });
    const acked = run([frame(Op.HEARTBEAT_ACK, null), timer('heartbeat')], first.state);
    expect(sent(acked.effects)).toHaveLength(1);
    const dead = run([timer('heartbeat')], first.state);
    expect(dead.state.phase).toBe('waiting');
    expect(dead.effects).toContainEqual({ type: 'close', code: 4000 });
    expect(sent(run([frame(Op.HEARTBEAT, null)], ready()).effects)).toEqual([{ op: Op.HEARTBEAT, d: 1 }]);
  });

  it('resumes where the session is, and asks its own gateway when that does not answer', () => {
    const lost = run([closedBy(1006), timer('reconnect')], ready());
    expect(opened(lost.effects)).toEqual(['wss://node7.example/?v=10&encoding=json']);
    const { state, effects } = run([HELLO], lost.state);
    expect(state.phase).toBe('resuming');
    expect(sent(effects)).toEqual([{ op: Op.RESUME, d: { token: 'token', session_id: 's', seq: 1 } }]);
    const resumed = run([frame(Op.DISPATCH, {}, 9, 'RESUMED')], state);
    expect(resumed.state).toMatchObject({ phase: 'ready', seq: 9, attempts: 0 });
    const twice = run([closedBy(1006), timer('reconnect')], lost.state);
    expect(opened(twice.effects)).toEqual([`${URL}/?v=10&encoding=json`]);
  });

  it.each([
    [GatewayClose.NORMAL, 'resume'],
    [GatewayClose.GOING_AWAY, 'resume'],
    [1006, 'resume'],
    [GatewayClose.SERVICE_RESTART, 'resume'],
    [GatewayClose.UNKNOWN_ERROR, 'resume'],
    [GatewayClose.UNKNOWN_OPCODE, 'resume'],
    [GatewayClose.DECODE_ERROR, 'resume'],
    [GatewayClose.NOT_AUTHENTICATED, 'identify'],
    [GatewayClose.AUTHENTICATION_FAILED, 'token'],
    [GatewayClose.ALREADY_AUTHENTICATED, 'identify'],
    [GatewayClose.INVALID_SEQ, 'identify'],
    [GatewayClose.RATE_LIMITED, 'resume'],
    [GatewayClose.SESSION_TIMED_OUT, 'identify'],
    [GatewayClose.INVALID_SHARD, 'refused'],
    [GatewayClose.SHARDING_REQUIRED, 'refused'],
    [GatewayClose.INVALID_VERSION, 'refused'],
    [GatewayClose.INVALID_INTENTS, 'refused'],
    [GatewayClose.DISALLOWED_INTENTS, 'refused'],
  ])('does what close code %i asks: %s', (code, meaning) => {
    expect(closeMeaning(code)).toBe(meaning);
    const { state, effects } = run([closedBy(code)], ready());
    const goesOn = meaning === 'resume' || meaning === 'identify';
    expect(state.phase).toBe(goesOn ? 'waiting' : 'stopped');
    expect(state.failure).toBe(goesOn ? null : meaning);
    expect(effects.some((e) => e.type === 'lost')).toBe(meaning === 'identify');
    if (!goesOn) return;
    const next = run([timer('reconnect'), HELLO], state);
    expect(sent(next.effects)[0]?.op).toBe(meaning === 'resume' ? Op.RESUME : Op.IDENTIFY);
  });

  it('comes back when the server asks for it, soon and with its session', () => {
    const { state, effects } = run([frame(Op.RECONNECT, null)], ready());
    expect(state).toMatchObject({ phase: 'waiting', attempts: 0, session: { id: 's' } });
    expect(effects).toContainEqual({ type: 'timer', timer: 'reconnect', ms: 250 });
  });

  it('identifies anew after an invalid session, unless it may resume', () => {
    const gone = run([frame(Op.INVALID_SESSION, false)], ready());
    expect(gone.state.session).toBeNull();
    expect(gone.effects).toContainEqual({ type: 'timer', timer: 'reconnect', ms: 3_000 });
    expect(gone.effects).toContainEqual({ type: 'lost' });
    expect(run([frame(Op.INVALID_SESSION, true)], ready()).state.session).not.toBeNull();
  });

  it('waits longer with each attempt, and not at all when the network is back', () => {
    let state = ready();
    const waits: number[] = [];
    for (let i = 0; i < 7; i++) {
      const lost = run([closedBy(1006)], state);
      waits.push(...lost.effects.flatMap((e) => (e.type === 'timer' && e.timer === 'reconnect' ? [e.ms] : [])));
      state = run([timer('reconnect')], lost.state).state;
    }
    expect(waits).toEqual([750, 1_500, 3_000, 6_000, 12_000, 22_500, 22_500]);
    const waiting = run([closedBy(1006)], state).state;
    expect(opened(run([{ type: 'online' }], waiting).effects)).toHaveLength(1);
    expect(backoffMs(1, 0)).toBe(500);
    expect(backoffMs(99, 1)).toBe(30_000);
  });

  it('asks at once whether a connection still lives when the network changed', () => {
    const doubted = run([{ type: 'online' }], ready());
    expect(sent(doubted.effects)).toEqual([{ op: Op.HEARTBEAT, d: doubted.state.seq }]);
    expect(doubted.effects).toContainEqual({ type: 'timer', timer: 'heartbeat', ms: 5_000 });
    expect(run([timer('heartbeat')], doubted.state).state.phase).toBe('waiting');
    const lives = run([frame(Op.HEARTBEAT_ACK, null), timer('heartbeat')], doubted.state);
    expect(lives.state.phase).toBe('ready');
    expect(lives.effects).toContainEqual({ type: 'timer', timer: 'heartbeat', ms: lives.state.heartbeatMs });
  });

  it('gives up on a gateway that says nothing', () => {
    expect(run([START, timer('patience')]).state.phase).toBe('waiting');
    expect(run([START, HELLO, timer('patience')]).state.phase).toBe('waiting');
  });

  it('keeps what is sent until there is a session', () => {
    const { state } = run([START, { type: 'send', text: '{"op":4}' }]);
    const { effects } = run([HELLO, READY], state);
    expect(sent(effects)).toEqual([{ op: 4 }]);
    expect(sent(run([{ type: 'send', text: '{"op":4}' }], ready()).effects)).toEqual([{ op: 4 }]);
  });

  it('passes events on, and survives what is none', () => {
    const { effects, state } = run([frame(Op.DISPATCH, { id: '5' }, 2, 'GUILD_DELETE')], ready());
    expect(effects).toEqual([{ type: 'dispatch', event: { t: 'GUILD_DELETE', d: { id: '5' } } }]);
    expect(state.seq).toBe(2);
    expect(run([{ type: 'frame', text: '{', random: 0 }], ready()).state.phase).toBe('waiting');
    expect(run([frame(99, null)], ready()).state.phase).toBe('ready');
  });

  it('stops for good when told to', () => {
    const { state, effects } = run([{ type: 'stop' }], ready());
    expect(state).toMatchObject({ phase: 'stopped', session: null });
    expect(effects).toContainEqual({ type: 'close', code: 1000 });
    expect(run([closedBy(1006), timer('reconnect'), { type: 'online' }], state).state.phase).toBe('stopped');
  });
});
