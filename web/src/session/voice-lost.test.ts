import { describe, expect, it } from 'vitest';

import { VoiceClose, VoiceOp } from '../protocol/voice';
import { DESCRIBED, HELLO, OFFERED, READY, closedBy, connected, frame, media, own, run, sent, server, timer, types } from './voice-scene';

const ANEW = [HELLO, READY, OFFERED, DESCRIBED];

describe('a page that joins anew', () => {
  it('says again that it speaks, as long as the microphone is open', () => {
    const { state } = run([{ type: 'speaking', bits: 1 }, media('failed'), timer('retry')], connected());
    expect(sent(run(ANEW, state).effects)).toEqual([{ op: VoiceOp.SPEAKING, d: { speaking: 1, ssrc: 77 } }]);
    expect(sent(run([{ type: 'speaking', bits: 0 }, ...ANEW], state).effects)).toEqual([]);
  });
});

describe('a voice server that may be dead', () => {
  it('is suspected where a new socket does not lead there either', () => {
    const first = run([closedBy(1006)], connected());
    expect(types(first.effects)).not.toContain('suspect');
    const second = run([timer('retry'), closedBy(1006)], first.state);
    expect(types(second.effects)).toContain('suspect');
    // Media goes on until it is known.
    expect(types(second.effects)).not.toContain('media stop');
    const moved = run([server('other:1', 'u')], second.state);
    expect(moved.effects).toContainEqual({ type: 'open', endpoint: 'other:1' });
    const back = run([timer('retry'), HELLO, frame(VoiceOp.RESUMED, null), closedBy(1006)], second.state);
    expect(types(back.effects)).not.toContain('suspect');
  });

  it('is asked for before the channel is, by whoever is in it', () => {
    const lost = run([closedBy(VoiceClose.SESSION_INVALID), timer('retry')], connected());
    expect(types(lost.effects)).toEqual(['suspect', 'ask', 'timer']);
    // Without an answer it leaves and comes again, and is nowhere between the two.
    expect(types(run([timer('patience')], lost.state).effects)).toEqual(['ask', 'ask', 'timer']);
    const forgotten = run([{ type: 'main session lost' }, own(null)], connected());
    expect(types(forgotten.effects)).not.toContain('suspect');
  });
});

describe('a machine that is in another network', () => {
  const elsewhere = () => run([media('elsewhere')], connected());

  it('begins a new session by a new socket as soon as that leads somewhere', () => {
    const { state, effects } = elsewhere();
    expect(state.phase).toBe('reconnecting');
    expect(types(effects)).toEqual(['close', 'cancel', 'open', 'timer']);
    const hello = run([HELLO], state);
    expect(sent(hello.effects).map(({ op }) => op)).toEqual([VoiceOp.IDENTIFY]);
    expect(types(hello.effects)).toContain('media stop');
    expect(types(hello.effects)).not.toContain('close');
    expect(run([READY, OFFERED, DESCRIBED, media('up')], hello.state).state).toMatchObject({ phase: 'voice connected', isElsewhere: false });
  });

  it('does so too where it was thought to be a loss of packets first', () => {
    const opening = run([media('interrupted'), media('elsewhere')], connected());
    expect(opening.effects).toEqual([]);
    expect(sent(run([HELLO], opening.state).effects).map(({ op }) => op)).toEqual([VoiceOp.IDENTIFY]);
    const resumed = run([media('interrupted'), HELLO, frame(VoiceOp.RESUMED, null), media('elsewhere')], connected());
    expect(types(resumed.effects)).toContain('open');
  });

  it('keeps what it has while no socket leads anywhere', () => {
    const nowhere = run([closedBy(1006), timer('retry')], elsewhere().state);
    expect(types(nowhere.effects)).toEqual(['open', 'timer']);
    const back = run([media('up'), HELLO], nowhere.state);
    expect(sent(back.effects)[0]?.op).toBe(VoiceOp.RESUME);
  });
});
