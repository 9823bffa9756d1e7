import { describe, expect, it } from 'vitest';

import { VoiceOp } from '../protocol/voice';
import { DESCRIBED, HELLO, OFFERED, READY, connected, media, run, sent, timer } from './voice-scene';

const ANEW = [HELLO, READY, OFFERED, DESCRIBED];

describe('a page that joins anew', () => {
  it('says again that it speaks, as long as the microphone is open', () => {
    const { state } = run([{ type: 'speaking', bits: 1 }, media('failed'), timer('retry')], connected());
    expect(sent(run(ANEW, state).effects)).toEqual([{ op: VoiceOp.SPEAKING, d: { speaking: 1, ssrc: 77 } }]);
    expect(sent(run([{ type: 'speaking', bits: 0 }, ...ANEW], state).effects)).toEqual([]);
  });
});
