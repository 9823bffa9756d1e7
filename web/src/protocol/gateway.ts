// The main gateway, version 10, as JSON: numbers, frames in both directions.

import type { Channel, Guild, GuildCreate, Id, Member, MemberFields, Message, Presence, Role, User, VoiceServerUpdate, VoiceStateUpdate } from './objects';

export const GATEWAY_VERSION = 10;

export const Op = {
  DISPATCH: 0,
  HEARTBEAT: 1,
  IDENTIFY: 2,
  PRESENCE_UPDATE: 3,
  VOICE_STATE_UPDATE: 4,
  VOICE_SERVER_PING: 5,
  RESUME: 6,
  RECONNECT: 7,
  REQUEST_GUILD_MEMBERS: 8,
  INVALID_SESSION: 9,
  HELLO: 10,
  HEARTBEAT_ACK: 11,
} as const;

export const GatewayClose = {
  NORMAL: 1000,
  GOING_AWAY: 1001,
  SERVICE_RESTART: 1012,
  UNKNOWN_ERROR: 4000,
  UNKNOWN_OPCODE: 4001,
  DECODE_ERROR: 4002,
  NOT_AUTHENTICATED: 4003,
  AUTHENTICATION_FAILED: 4004,
  ALREADY_AUTHENTICATED: 4005,
  INVALID_SEQ: 4007,
  RATE_LIMITED: 4008,
  SESSION_TIMED_OUT: 4009,
  INVALID_SHARD: 4010,
  SHARDING_REQUIRED: 4011,
  INVALID_VERSION: 4012,
  INVALID_INTENTS: 4013,
  DISALLOWED_INTENTS: 4014,
} as const;

export const Intent = {
  GUILDS: 1 << 0,
  GUILD_MEMBERS: 1 << 1,
  GUILD_MODERATION: 1 << 2,
  GUILD_INVITES: 1 << 6,
  GUILD_VOICE_STATES: 1 << 7,
  GUILD_PRESENCES: 1 << 8,
  GUILD_MESSAGES: 1 << 9,
  GUILD_MESSAGE_TYPING: 1 << 11,
  MESSAGE_CONTENT: 1 << 15,
} as const;

/** A frame from the server. `s` and `t` are there for dispatches only. */
export interface ServerFrame {
  op: number;
  d: unknown;
  s: number | null;
  t: string | null;
}

export interface Ready {
  v: number;
  user: User;
  guilds: { id: Id; unavailable: boolean }[];
  session_id: string;
  /** Scheme, host and port. */
  resume_gateway_url: string;
}

/** The events this client understands, by name. */
export interface Events {
  READY: Ready;
  RESUMED: object;
  GUILD_CREATE: GuildCreate;
  GUILD_UPDATE: Guild;
  GUILD_DELETE: { id: Id; unavailable?: boolean };
  CHANNEL_CREATE: Channel;
  CHANNEL_UPDATE: Channel;
  CHANNEL_DELETE: Channel;
  GUILD_ROLE_CREATE: { guild_id: Id; role: Role };
  GUILD_ROLE_UPDATE: { guild_id: Id; role: Role };
  GUILD_ROLE_DELETE: { guild_id: Id; role_id: Id };
  GUILD_MEMBER_ADD: Member & { guild_id: Id };
  GUILD_MEMBER_UPDATE: Member & { guild_id: Id };
  GUILD_MEMBER_REMOVE: { guild_id: Id; user: User };
  GUILD_MEMBERS_CHUNK: { guild_id: Id; members: Member[]; presences?: Presence[] };
  PRESENCE_UPDATE: Presence;
  VOICE_STATE_UPDATE: VoiceStateUpdate;
  VOICE_SERVER_UPDATE: VoiceServerUpdate;
  MESSAGE_CREATE: Message;
  MESSAGE_UPDATE: Message;
  MESSAGE_DELETE: { id: Id; channel_id: Id; guild_id: Id };
  MESSAGE_DELETE_BULK: { ids: Id[]; channel_id: Id; guild_id: Id };
  TYPING_START: { channel_id: Id; guild_id: Id; user_id: Id; timestamp: number; member?: MemberFields & { user?: User } };
}

export type EventName = keyof Events;

/** A dispatch whose name says what its payload is. Others pass as names that nobody asks for. */
export type Dispatch = { [Name in EventName]: { t: Name; d: Events[Name] } }[EventName];

export interface VoiceWish {
  guild_id: Id;
  /** Null leaves. */
  channel_id: Id | null;
  self_mute: boolean;
  self_deaf: boolean;
}

const frame = (op: number, d: unknown): string => JSON.stringify({ op, d });

export const encodeHeartbeat = (seq: number | null): string => frame(Op.HEARTBEAT, seq);

export const encodeIdentify = (token: string, intents: number): string =>
  frame(Op.IDENTIFY, {
    token,
    intents,
    properties: { os: 'web', browser: 'guildhall-web', device: 'guildhall-web' },
  });

export const encodeResume = (token: string, sessionId: string, seq: number): string =>
  frame(Op.RESUME, { token, session_id: sessionId, seq });

export const encodeVoiceState = (wish: VoiceWish): string =>
  frame(Op.VOICE_STATE_UPDATE, { ...wish, self_video: false });

export const encodeVoiceServerPing = (): string => frame(Op.VOICE_SERVER_PING, null);

export const encodeRequestMembers = (guildId: Id, userIds: Id[]): string =>
  frame(Op.REQUEST_GUILD_MEMBERS, { guild_id: guildId, user_ids: userIds, limit: 0 });

/** The frame, or null if it is none. */
export function readServerFrame(text: string): ServerFrame | null {
  try {
    const value = JSON.parse(text) as Partial<ServerFrame> | null;
    if (value === null || typeof value !== 'object' || typeof value.op !== 'number') return null;
    return { op: value.op, d: value.d ?? null, s: value.s ?? null, t: value.t ?? null };
  } catch {
    return null;
  }
}
