// What the voice server says.

import {
  VoiceOp,
  encodeSpeaking,
  encodeVoiceIdentify,
  encodeVoiceResume,
  type ServerSpeaking,
  type ServerVideo,
  type SessionDescription,
  type VoiceHello,
  type VoiceServerFrame,
} from '../protocol/voice';
import type { Id } from '../protocol/objects';
import { heartbeatAcked } from './voice-heartbeat';
import { MEDIA_PATIENCE_MS, MEDIA_RETURN_MS, again, tearDown } from './voice-moves';
import { credentials, type VoiceEffect, type VoiceState, type VoiceTurn } from './voice-state';

export function receivedFrame(before: VoiceState, frame: VoiceServerFrame, now: number, random: number): VoiceTurn {
  const state = frame.seq === null ? before : { ...before, seqAck: frame.seq };
  switch (frame.op) {
    case VoiceOp.HELLO:
      return hello(state, frame.d as VoiceHello, random);
    case VoiceOp.READY:
      return ready(state);
    case VoiceOp.SESSION_DESCRIPTION:
      return described(state, frame.d as SessionDescription, random);
    case VoiceOp.RESUMED:
      return resumed(state);
    case VoiceOp.HEARTBEAT_ACK:
      return heartbeatAcked(state, frame.d, now);
    case VoiceOp.SPEAKING: {
      const { user_id, ssrc, speaking } = frame.d as ServerSpeaking;
      return speaker(state, user_id, ssrc, speaking);
    }
    case VoiceOp.VIDEO: {
      const { user_id, audio_ssrc } = frame.d as ServerVideo;
      if (audio_ssrc === undefined) return { state, effects: [] };
      return speaker(state, user_id, audio_ssrc, state.speakers[user_id]?.speaking ?? 0);
    }
    case VoiceOp.CLIENT_DISCONNECT:
      return gone(state, (frame.d as { user_id: Id }).user_id);
    default:
      // Who is connected is known from the main gateway; the rest is about video, or from a later time.
      return { state, effects: [] };
  }
}

function hello(before: VoiceState, d: VoiceHello | null, random: number): VoiceTurn {
  const torn = before.isElsewhere ? tearDown({ ...before, hasSocket: false }) : { state: before, effects: [] };
  const state = { ...torn.state, hasSocket: true };
  const who = credentials(state);
  if (who === null || typeof d?.heartbeat_interval !== 'number') return again(state, 'ask', random);
  const text = state.isResuming ? encodeVoiceResume(who, state.seqAck) : encodeVoiceIdentify(who);
  return {
    state: { ...state, heartbeatMs: d.heartbeat_interval, beatsMissed: 0 },
    effects: [
      ...torn.effects,
      { type: 'send', text },
      { type: 'timer', timer: 'heartbeat', ms: d.heartbeat_interval },
    ],
  };
}

function ready(state: VoiceState): VoiceTurn {
  const phase = state.wasConnected ? 'reconnecting' : 'connecting';
  return {
    state: { ...state, phase, isResuming: false },
    effects: [
      { type: 'cancel', timer: 'patience' },
      { type: 'timer', timer: 'media', ms: MEDIA_PATIENCE_MS },
      { type: 'media start' },
    ],
  };
}

function described(state: VoiceState, d: SessionDescription | null, random: number): VoiceTurn {
  if (typeof d?.sdp !== 'string') return again(state, 'identify', random);
  return {
    state: { ...state, isDescribed: true },
    effects: [
      { type: 'media describe', fragment: d.sdp },
      // That the microphone opened meanwhile could not be said before.
      ...(state.speaking === 0 ? [] : [{ type: 'send' as const, text: encodeSpeaking(state.speaking, state.ssrc) }]),
    ],
  };
}

function resumed(state: VoiceState): VoiceTurn {
  const connected = state.isMediaUp ? 'voice connected' : state.wasConnected ? 'reconnecting' : 'connecting';
  const isMediaDue = state.wasConnected && !state.isMediaUp;
  return {
    state: { ...state, phase: connected, isResuming: false, resumes: 0 },
    effects: [
      { type: 'cancel', timer: 'patience' },
      // Signalling has a way where media had none. Media may have one again: browsers go on with their checks, which takes them a moment.
      ...(isMediaDue ? [{ type: 'timer' as const, timer: 'media' as const, ms: MEDIA_RETURN_MS }] : []),
      // What changed meanwhile could not be said.
      { type: 'send', text: encodeSpeaking(state.speaking, state.ssrc) },
    ],
  };
}

function speaker(state: VoiceState, userId: Id, ssrc: number, speaking: number): VoiceTurn {
  if (ssrc === 0 || userId === state.userId) return { state, effects: [] };
  const known = state.speakers[userId];
  const effects: VoiceEffect[] = [];
  if (known?.ssrc !== ssrc) {
    if (known !== undefined) effects.push({ type: 'stream removed', userId, ssrc: known.ssrc });
    effects.push({ type: 'stream added', userId, ssrc });
  }
  return { state: { ...state, speakers: { ...state.speakers, [userId]: { ssrc, speaking } } }, effects };
}

function gone(state: VoiceState, userId: Id): VoiceTurn {
  const { [userId]: known, ...speakers } = state.speakers;
  if (known === undefined) return { state, effects: [] };
  return { state: { ...state, speakers }, effects: [{ type: 'stream removed', userId, ssrc: known.ssrc }] };
}
