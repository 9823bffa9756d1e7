// What a stay in voice is told in its tests, and what it wants done, in few words.

import { VoiceOp } from '../protocol/voice';
import type { VoiceStateUpdate } from '../protocol/objects';
import { stepVoice } from './voice';
import { voiceState, type VoiceEffect, type VoiceInput, type VoiceState, type VoiceTimer } from './voice-state';

export const ME = '100';

/** Runs inputs through the machine; what the last one caused is what comes out. */
export function run(inputs: VoiceInput[], from: VoiceState = voiceState(ME)) {
  let turn: { state: VoiceState; effects: VoiceEffect[] } = { state: from, effects: [] };
  for (const input of inputs) turn = stepVoice(turn.state, input);
  return turn;
}

export const join = (channelId = '20', guildId = '10'): VoiceInput => ({ type: 'join', guildId, channelId, selfMute: false, selfDeaf: false });
export const own = (channel_id: string | null, more: Partial<VoiceStateUpdate> = {}): VoiceInput => {
  const flags = { deaf: false, mute: false, self_deaf: false, self_mute: false, suppress: false };
  return { type: 'voice state', ownSession: 's', update: { guild_id: '10', channel_id, user_id: ME, session_id: 's', ...flags, ...more } };
};
export const server = (endpoint: string | null = 'v.example:8443', token = 't'): VoiceInput => ({ type: 'voice server', update: { guild_id: '10', endpoint, token } });
export const frame = (op: number, d: unknown, seq?: number): VoiceInput => ({ type: 'frame', text: JSON.stringify({ op, d, seq }), now: 1_000, random: 0.5 });
export const closedBy = (code: number): VoiceInput => ({ type: 'closed', code, random: 0.5 });
export const timer = (timer: VoiceTimer): VoiceInput => ({ type: 'timer', timer, now: 1_000, random: 0.5 });
export const media = (is: 'up' | 'interrupted' | 'elsewhere' | 'failed'): VoiceInput => ({ type: 'media', is, random: 0.5 });

export const HELLO = frame(VoiceOp.HELLO, { v: 8, heartbeat_interval: 13_750 });
export const READY = frame(VoiceOp.READY, { ssrc: 1, ip: '192.0.2.1', port: 50_000, modes: [] });
export const OFFERED: VoiceInput = { type: 'offered', fragment: 'a=ice-ufrag:x', ssrc: 77 };
export const DESCRIBED = frame(VoiceOp.SESSION_DESCRIPTION, { sdp: 'm=audio 1 ICE/SDP', audio_codec: 'opus' }, 1);
export const ROUTE: VoiceInput[] = [join(), own('20'), server()];
export const SIGNALLED: VoiceInput[] = [...ROUTE, HELLO, READY, OFFERED, DESCRIBED];
export const connected = () => run([...SIGNALLED, media('up')]).state;

export const sent = (effects: VoiceEffect[]) => effects.flatMap((e) => (e.type === 'send' ? [JSON.parse(e.text) as { op: number; d: never }] : []));
export const asked = (effects: VoiceEffect[]) => effects.flatMap((e) => (e.type === 'ask' ? [e.channelId] : []));
export const types = (effects: VoiceEffect[]) => effects.map((e) => e.type);
