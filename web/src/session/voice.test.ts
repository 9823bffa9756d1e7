import { describe, expect, it } from 'vitest';

import { VoiceClose, VoiceOp } from '../protocol/voice';
import { voiceCloseMeaning } from './voice-close';
import {
  DESCRIBED,
  HELLO,
  ME,
  OFFERED,
  READY,
  ROUTE,
  SIGNALLED,
  asked,
  closedBy,
  connected,
  frame,
  join,
  media,
  own,
  run,
  sent,
  server,
  timer,
  types,
} from './voice-scene';
import type { VoiceInput } from './voice-state';

describe('a join', () => {
  it('goes through the states in their order', () => {
    const phases = [...SIGNALLED, media('up')].map((_, i, all) => run(all.slice(0, i + 1)).state.phase);
    expect([...new Set(phases)]).toEqual(['awaiting endpoint', 'authenticating', 'connecting', 'voice connected']);
  });

  it('says what the protocol asks for, in its order', () => {
    expect(asked(run([join()]).effects)).toEqual(['20']);
    expect(run(ROUTE).effects).toContainEqual({ type: 'open', endpoint: 'v.example:8443' });
    const identify = sent(run([...ROUTE, HELLO]).effects)[0];
    expect(identify).toMatchObject({ op: VoiceOp.IDENTIFY, d: { server_id: '10', user_id: ME, session_id: 's', token: 't' } });
    expect(types(run([...ROUTE, HELLO, READY]).effects)).toContain('media start');
    expect(sent(run([...ROUTE, HELLO, READY, OFFERED]).effects)).toEqual([
      { op: VoiceOp.SELECT_PROTOCOL, d: { protocol: 'webrtc', data: 'a=ice-ufrag:x' } },
    ]);
    const { effects } = run(SIGNALLED);
    expect(effects[0]).toEqual({ type: 'media describe', fragment: 'm=audio 1 ICE/SDP' });
    expect(sent(effects)).toEqual([]);
    const spoken = run([{ type: 'speaking', bits: 1 }, OFFERED, DESCRIBED], run([...ROUTE, HELLO, READY]).state);
    expect(sent(spoken.effects)).toEqual([{ op: VoiceOp.SPEAKING, d: { speaking: 1, ssrc: 77 } }]);
  });

  it('waits where there is no voice server yet', () => {
    const { state, effects } = run([join(), own('20'), server(null)]);
    expect(state.phase).toBe('awaiting endpoint');
    expect(effects).toContainEqual({ type: 'cancel', timer: 'patience' });
    expect(run([server()], state).state.phase).toBe('authenticating');
  });

  it('is given up when the server is silent: so it refuses', () => {
    const { state, effects } = run([join(), timer('patience')]);
    expect(state).toMatchObject({ phase: 'disconnected', end: 'no answer' });
    expect(asked(effects)).toEqual([null]);
  });

  it('ends without a route after some attempts', () => {
    let { state, effects } = run(SIGNALLED);
    expect(sent(run([timer('media')], state).effects)[0]?.op).toBe(VoiceOp.NO_ROUTE);
    for (let i = 0; i < 5 && state.phase !== 'disconnected'; i++) {
      ({ state, effects } = run([timer('media')], state));
      if (state.phase === 'disconnected') break;
      ({ state } = run(state.retry === 'ask' ? [timer('retry'), own('20'), server(), HELLO, READY, OFFERED, DESCRIBED] : [timer('retry'), HELLO, READY, OFFERED, DESCRIBED], state));
    }
    expect(state).toMatchObject({ phase: 'disconnected', end: 'no route' });
    expect(asked(effects)).toEqual([null]);
  });
});

describe('a close by the voice server', () => {
  it.each([
    [VoiceClose.NORMAL, 'resume'],
    [VoiceClose.GOING_AWAY, 'resume'],
    [1006, 'resume'],
    [1011, 'resume'],
    [VoiceClose.UNKNOWN_OPCODE, 'rejoin'],
    [VoiceClose.DECODE_ERROR, 'rejoin'],
    [VoiceClose.NOT_AUTHENTICATED, 'rejoin'],
    [VoiceClose.AUTHENTICATION_FAILED, 'rejoin'],
    [VoiceClose.ALREADY_AUTHENTICATED, 'rejoin'],
    [VoiceClose.SESSION_INVALID, 'rejoin'],
    [VoiceClose.SESSION_TIMEOUT, 'resume'],
    [VoiceClose.SERVER_NOT_FOUND, 'rejoin'],
    [VoiceClose.UNKNOWN_PROTOCOL, 'end'],
    [VoiceClose.RELAY_CRASHED, 'rejoin'],
    [VoiceClose.DISCONNECTED, 'await'],
    [VoiceClose.SERVER_CRASHED, 'resume'],
    [VoiceClose.UNKNOWN_MODE, 'end'],
    [VoiceClose.DAVE_REQUIRED, 'end'],
    [VoiceClose.BAD_REQUEST, 'rejoin'],
    [VoiceClose.RATE_LIMITED, 'end'],
    [VoiceClose.CALL_TERMINATED, 'end'],
    [4999, 'rejoin'],
  ])('%i means %s', (code, meaning) => {
    expect(voiceCloseMeaning(code)).toBe(meaning);
    const { state, effects } = run([closedBy(code)], connected());
    expect(state.phase).toBe(meaning === 'end' ? 'disconnected' : 'reconnecting');
    // Media is kept only where the session is.
    expect(types(effects).includes('media stop')).toBe(meaning !== 'resume');
    if (meaning === 'end') {
      expect(state.end).not.toBeNull();
      expect(asked(effects)).toEqual([null]);
    }
    if (meaning === 'resume') {
      const back = run([timer('retry'), HELLO], state);
      expect(sent(back.effects)[0]).toMatchObject({ op: VoiceOp.RESUME, d: { session_id: 's', token: 't', seq_ack: 1 } });
      expect(run([frame(VoiceOp.RESUMED, null)], back.state).state.phase).toBe('voice connected');
    }
    if (meaning === 'rejoin') expect(asked(run([timer('retry')], state).effects)).toEqual(['20']);
    if (meaning === 'await') expect(run([server('other:1', 'u')], state).effects).toContainEqual({ type: 'open', endpoint: 'other:1' });
  });

  it('after failed resumes makes everything anew', () => {
    let state = connected();
    for (let i = 0; i < 5; i++) ({ state } = run([closedBy(1006), timer('retry')], state));
    expect(state.isResuming).toBe(true);
    const { state: last } = run([closedBy(1006), timer('retry')], state);
    expect(last).toMatchObject({ isResuming: false, isMediaUp: false, phase: 'reconnecting' });
  });

  it('after a resume that is refused asks for the channel again', () => {
    const { state } = run([closedBy(1006), timer('retry'), HELLO, closedBy(VoiceClose.SESSION_INVALID)], connected());
    expect(asked(run([timer('retry')], state).effects)).toEqual(['20']);
  });

  it('leaves and comes again where the main gateway believes it to be connected', () => {
    const { state } = run([closedBy(VoiceClose.SESSION_INVALID), timer('retry')], connected());
    const { state: asking, effects } = run([timer('patience')], state);
    expect(asked(effects)).toEqual([null, '20']);
    expect(run([own(null), own('20'), server()], asking).state.phase).toBe('reconnecting');
  });
});

describe('a stay', () => {
  it('maps streams to users, as they come, change and go', () => {
    const speaks = (user_id: string, ssrc: number, speaking = 1) => frame(VoiceOp.SPEAKING, { user_id, ssrc, speaking }, 2);
    const first = run([speaks('7', 70)], connected());
    expect(first.effects).toEqual([{ type: 'stream added', userId: '7', ssrc: 70 }]);
    expect(run([speaks('7', 70, 0)], first.state).effects).toEqual([]);
    expect(run([speaks('7', 71)], first.state).effects).toEqual([
      { type: 'stream removed', userId: '7', ssrc: 70 },
      { type: 'stream added', userId: '7', ssrc: 71 },
    ]);
    const video = run([frame(VoiceOp.VIDEO, { user_id: '8', audio_ssrc: 80, video_ssrc: 0, streams: [] }, 3)], first.state);
    expect(video.effects).toEqual([{ type: 'stream added', userId: '8', ssrc: 80 }]);
    expect(run([frame(VoiceOp.CLIENT_DISCONNECT, { user_id: '7' }, 4)], video.state)).toMatchObject({
      state: { seqAck: 4, speakers: { '8': { ssrc: 80 } } },
      effects: [{ type: 'stream removed', userId: '7', ssrc: 70 }],
    });
    expect(run([speaks(ME, 5)], connected()).effects).toEqual([]);
  });

  it('says when it speaks, once', () => {
    const { state, effects } = run([{ type: 'speaking', bits: 1 }], connected());
    expect(sent(effects)).toEqual([{ op: VoiceOp.SPEAKING, d: { speaking: 1, ssrc: 77 } }]);
    expect(run([{ type: 'speaking', bits: 1 }], state).effects).toEqual([]);
  });

  it('beats with what it has received, and leaves a dead socket', () => {
    let { state, effects } = run([timer('heartbeat')], connected());
    expect(sent(effects)).toEqual([{ op: VoiceOp.HEARTBEAT, d: { t: 1_000, seq_ack: 1 } }]);
    const acked = run([{ ...frame(VoiceOp.HEARTBEAT_ACK, { t: 1_000 }), now: 1_040 } as VoiceInput], state).state;
    expect(acked).toMatchObject({ signallingMs: 40, beatsMissed: 0 });
    for (let i = 0; i < 3; i++) ({ state, effects } = run([timer('heartbeat')], state));
    expect(effects).toContainEqual({ type: 'close', code: 4000 });
    expect(state).toMatchObject({ hasSocket: false, phase: 'reconnecting', isMediaUp: true });
  });

  it('makes a new voice connection when media fails', () => {
    const failed = run([media('failed')], connected());
    expect(failed.state.phase).toBe('reconnecting');
    expect(types(failed.effects)).toEqual(expect.arrayContaining(['close', 'media stop']));
    const back = run([timer('retry'), HELLO], failed.state);
    expect(sent(back.effects)[0]?.op).toBe(VoiceOp.IDENTIFY);
  });

  it('asks by a new socket whether there is a network when nothing arrives any more', () => {
    const interrupted = run([media('interrupted')], connected());
    expect(interrupted.state.phase).toBe('reconnecting');
    expect(types(interrupted.effects)).toEqual(['close', 'cancel', 'open', 'timer']);
    // Once is enough.
    expect(run([media('interrupted')], interrupted.state).effects).toEqual([]);

    // Media was back first: nothing but the socket is new.
    const back = run([media('up'), HELLO], interrupted.state);
    expect(sent(back.effects)[0]?.op).toBe(VoiceOp.RESUME);
    expect(types(back.effects)).not.toContain('media stop');
    expect(run([frame(VoiceOp.RESUMED, null)], back.state).state).toMatchObject({ phase: 'voice connected', hasSocket: true });

    // The socket has a way and media gets some seconds to have one, too.
    const resumed = run([HELLO, frame(VoiceOp.RESUMED, null)], interrupted.state);
    expect(resumed.effects).toContainEqual({ type: 'timer', timer: 'media', ms: 3_000 });
    expect(types(resumed.effects)).not.toContain('media stop');
    expect(resumed.state).toMatchObject({ phase: 'reconnecting', hasSocket: true });
    const blip = run([media('up')], resumed.state);
    expect(blip.effects).toContainEqual({ type: 'cancel', timer: 'media' });
    expect(blip.state.phase).toBe('voice connected');

    // It has none: this machine is elsewhere.
    const elsewhere = run([timer('media')], resumed.state);
    expect(elsewhere.effects).toContainEqual({ type: 'media stop' });
    expect(sent(elsewhere.effects)).toEqual([]);
    const anew = run([timer('retry'), HELLO], elsewhere.state);
    expect(sent(anew.effects).map(({ op }) => op)).toEqual([VoiceOp.IDENTIFY]);
    expect(anew.state).toMatchObject({ isResuming: false, seqAck: -1, hasSocket: true });
    expect(run([READY, OFFERED, DESCRIBED, media('up')], anew.state).state.phase).toBe('voice connected');

    // The new socket ended meanwhile: the seconds begin anew with the next one.
    const cut = run([closedBy(1006)], resumed.state);
    expect(cut.effects).toContainEqual({ type: 'cancel', timer: 'media' });
    expect(run([timer('retry'), HELLO, frame(VoiceOp.RESUMED, null)], cut.state).effects).toContainEqual({ type: 'timer', timer: 'media', ms: 3_000 });

    // Neither has one: it is tried again, and media is left as it is.
    const nowhere = run([timer('patience'), timer('retry'), timer('patience')], interrupted.state);
    expect(types(nowhere.effects)).not.toContain('media stop');
    expect(run([media('up'), timer('retry'), HELLO], nowhere.state).state.isResuming).toBe(true);
  });

  it('keeps the patience of its first connection over a resume', () => {
    // The timer that READY set goes on.
    const cut = run([...SIGNALLED, closedBy(1006)]);
    expect(cut.effects).not.toContainEqual({ type: 'cancel', timer: 'media' });
    const resumed = run([timer('retry'), HELLO, frame(VoiceOp.RESUMED, null)], cut.state);
    expect(resumed.effects.filter((effect) => effect.type === 'timer')).toEqual([]);
    expect(resumed.state.phase).toBe('connecting');
  });

  it('does not wait when the network is back', () => {
    const { state } = run([media('failed')], connected());
    expect(types(run([{ type: 'network changed', random: 0 }], state).effects)).toContain('open');
    expect(run([{ type: 'network changed', random: 0 }], connected()).effects).toEqual([]);
  });

  it('follows a move, and comes back to nothing when put out', () => {
    const moved = run([own('21'), server('v.example:8443', 'new')], connected());
    expect(moved.state).toMatchObject({ channelId: '21', phase: 'authenticating' });
    expect(moved.effects).toContainEqual({ type: 'close', code: 4000 });
    const out = run([own(null)], connected());
    expect(out.state).toMatchObject({ phase: 'disconnected', channelId: null, end: 'put out' });
    expect(asked(out.effects)).toEqual([]);
    expect(run([own('20', { session_id: 'phone' })], connected()).state.end).toBe('elsewhere');
    expect(run([own(null, { session_id: 'old' })], connected()).state.phase).toBe('voice connected');
  });

  it('goes on where it was until another server has taken over', () => {
    const said = frame(VoiceOp.SPEAKING, { user_id: '7', ssrc: 5, speaking: 1 });
    const talking = run([said], connected()).state;
    const moved = run([server('other:1', 'u')], talking);
    expect(moved.state).toMatchObject({ phase: 'reconnecting', speakers: {}, isMediaUp: false });
    expect(types(moved.effects)).toEqual(expect.arrayContaining(['media yield', 'open']));
    for (const ended of ['media stop', 'stream removed', 'close', 'former stop'] as const) expect(types(moved.effects)).not.toContain(ended);
    // Where there is nowhere to go, nothing to go on with, or somewhere else to be, it ends.
    const silent = run([media('interrupted')], talking).state;
    for (const torn of [run([server(null)], talking), run([server('other:1', 'u')], silent), run([own('21'), server('other:1', 'u')], talking)]) {
      expect(types(torn.effects)).toContain('media stop');
      expect(types(torn.effects)).not.toContain('media yield');
    }
    // The one before goes on through an attempt that fails and through another move, and ends with the wish to be there.
    for (const still of [media('failed'), server('third:1', 'v')]) expect(types(run([still], moved.state).effects)).not.toContain('former stop');
    for (const over of [server(null), join('30'), { type: 'main session lost' } as const]) {
      expect(types(run([over], moved.state).effects)).toContain('former stop');
    }
  });

  it('stays where it is when another channel refuses', () => {
    const { state } = run([join('30'), timer('patience')], connected());
    expect(state).toMatchObject({ phase: 'voice connected', channelId: '20', end: 'no answer', asked: null });
    const to = run([join('30', '11'), own(null), own('30', { guild_id: '11' })], connected()).state;
    expect(to).toMatchObject({ guildId: '11', channelId: '30', asked: null });
  });

  it('asks again when the main gateway forgot it', () => {
    const { state, effects } = run([{ type: 'main session lost' }], connected());
    expect(asked(effects)).toEqual(['20']);
    expect(run([own('20', { session_id: 's2' })].map((i) => ({ ...i, ownSession: 's2' }) as VoiceInput), state).state.sessionId).toBe('s2');
  });

  it('tells the main gateway of mutes and of leaving', () => {
    const muted = run([{ type: 'flags', selfMute: true, selfDeaf: false }], connected());
    expect(muted.effects).toEqual([{ type: 'ask', guildId: '10', channelId: '20', selfMute: true, selfDeaf: false }]);
    const left = run([{ type: 'leave' }], connected());
    expect(asked(left.effects)).toEqual([null]);
    expect(left.effects).toContainEqual({ type: 'close', code: 1000 });
    expect(left.state).toMatchObject({ phase: 'disconnected', end: null });
    expect(run([closedBy(1006), timer('retry'), own(null), server()], left.state).effects).toEqual([]);
  });
});
