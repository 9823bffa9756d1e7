// The voice gateway, version 8: numbers, frames in both directions. Everything is JSON; end-to-end
// encryption, which would be binary, is not offered by the server.

import type { Id } from './objects';

export const VOICE_VERSION = 8;

export const VoiceOp = {
  IDENTIFY: 0,
  SELECT_PROTOCOL: 1,
  READY: 2,
  HEARTBEAT: 3,
  SESSION_DESCRIPTION: 4,
  SPEAKING: 5,
  HEARTBEAT_ACK: 6,
  RESUME: 7,
  HELLO: 8,
  RESUMED: 9,
  CLIENTS_CONNECT: 11,
  VIDEO: 12,
  CLIENT_DISCONNECT: 13,
  SESSION_UPDATE: 14,
  MEDIA_SINK_WANTS: 15,
  BACKEND_VERSION: 16,
  NO_ROUTE: 32,
} as const;

export const VoiceClose = {
  NORMAL: 1000,
  GOING_AWAY: 1001,
  UNKNOWN_OPCODE: 4001,
  DECODE_ERROR: 4002,
  NOT_AUTHENTICATED: 4003,
  AUTHENTICATION_FAILED: 4004,
  ALREADY_AUTHENTICATED: 4005,
  SESSION_INVALID: 4006,
  SESSION_TIMEOUT: 4009,
  SERVER_NOT_FOUND: 4011,
  UNKNOWN_PROTOCOL: 4012,
  RELAY_CRASHED: 4013,
  DISCONNECTED: 4014,
  SERVER_CRASHED: 4015,
  UNKNOWN_MODE: 4016,
  DAVE_REQUIRED: 4017,
  BAD_REQUEST: 4020,
  RATE_LIMITED: 4021,
  CALL_TERMINATED: 4022,
} as const;

export const Speaking = { VOICE: 1, SOUNDSHARE: 2, PRIORITY: 4 } as const;

export interface VoiceServerFrame {
  op: number;
  d: unknown;
  /** Only what is replayed on a resume is numbered. */
  seq: number | null;
}

export interface VoiceHello {
  v: number;
  heartbeat_interval: number;
}

export interface VoiceReady {
  ssrc: number;
  ip: string;
  port: number;
  modes: string[];
}

export interface SessionDescription {
  sdp: string;
  audio_codec?: string;
  media_session_id?: string;
}

export interface ServerSpeaking {
  speaking: number;
  ssrc: number;
  user_id: Id;
}

export interface ServerVideo {
  user_id: Id;
  audio_ssrc?: number;
  video_ssrc?: number;
}

/** What a join needs to name itself by, from the main gateway. */
export interface Credentials {
  serverId: Id;
  userId: Id;
  sessionId: string;
  token: string;
}

const frame = (op: number, d: unknown): string => JSON.stringify({ op, d });

export const encodeVoiceIdentify = (c: Credentials): string =>
  frame(VoiceOp.IDENTIFY, {
    server_id: c.serverId,
    user_id: c.userId,
    session_id: c.sessionId,
    token: c.token,
    max_dave_protocol_version: 0,
  });

export const encodeVoiceResume = (c: Credentials, seqAck: number): string =>
  frame(VoiceOp.RESUME, { server_id: c.serverId, session_id: c.sessionId, token: c.token, seq_ack: seqAck });

export const encodeVoiceHeartbeat = (nonce: number, seqAck: number): string =>
  frame(VoiceOp.HEARTBEAT, { t: nonce, seq_ack: seqAck });

/** Nothing about video, and nothing twice: servers take the fragment alone, and a join costs few bytes. */
export const encodeSelectWebrtc = (fragment: string): string =>
  frame(VoiceOp.SELECT_PROTOCOL, { protocol: 'webrtc', data: fragment });

export const encodeSpeaking = (speaking: number, ssrc: number): string => frame(VoiceOp.SPEAKING, { speaking, ssrc });

export const encodeNoRoute = (): string => frame(VoiceOp.NO_ROUTE, {});

/** The frame, or null if it is none. */
export function readVoiceFrame(text: string): VoiceServerFrame | null {
  try {
    const value = JSON.parse(text) as Partial<VoiceServerFrame> | null;
    if (value === null || typeof value !== 'object' || typeof value.op !== 'number') return null;
    return { op: value.op, d: value.d ?? null, seq: value.seq ?? null };
  } catch {
    return null;
  }
}
