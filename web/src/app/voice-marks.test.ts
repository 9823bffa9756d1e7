import { expect, it } from 'vitest';

import type { VoiceState } from '../protocol/objects';
import { moderatedWords, voiceMarks } from './voice-marks';

const state = (more: Partial<VoiceState>): VoiceState => ({
  channel_id: '20', user_id: '2', session_id: '', deaf: false, mute: false, self_deaf: false, self_mute: false, suppress: false, ...more,
});

it('what a moderator did looks and reads otherwise than what one does oneself', () => {
  const check = (more: Partial<VoiceState>, icons: string[], labels: string[], words: string) => {
    const marks = voiceMarks(state(more));
    expect(marks.map(({ icon }) => icon)).toEqual(icons);
    expect(marks.map(({ label }) => label)).toEqual(labels);
    expect(moderatedWords(marks)).toBe(words);
  };
  check({}, [], [], '');
  check({ self_mute: true }, ['microphoneOff'], ['muted'], '');
  check({ self_mute: true, self_deaf: true }, ['microphoneOff', 'headphonesOff'], ['muted', 'deafened'], '');
  check({ mute: true, self_mute: true }, ['microphoneBarred'], ['muted by a moderator'], 'muted by a moderator');
  check({ deaf: true }, ['headphonesBarred'], ['deafened by a moderator'], 'deafened by a moderator');
  check({ mute: true, suppress: true, deaf: true }, ['microphoneBarred', 'headphonesBarred'], ['muted by a moderator', 'deafened by a moderator'], 'muted and deafened by a moderator');
  check({ suppress: true, self_mute: true }, ['microphoneOff'], ['only listens here'], '');
});
