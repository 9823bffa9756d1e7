// Objects inside events and REST replies, with the fields that this client reads.
// Ids are decimal strings: they exceed what a number holds exactly.

export type Id = string;

export interface User {
  id: Id;
  username: string;
  global_name: string | null;
  bot: boolean;
}

export interface Role {
  id: Id;
  name: string;
  /** 24 bits of red, green and blue; 0 is none. */
  color: number;
  /** Its members stand apart in the list. */
  hoist: boolean;
  position: number;
  permissions: string;
}

export const OverwriteType = { ROLE: 0, MEMBER: 1 } as const;

export interface Overwrite {
  id: Id;
  type: number;
  allow: string;
  deny: string;
}

export const ChannelType = { TEXT: 0, VOICE: 2, CATEGORY: 4, STAGE: 13 } as const;

export interface Channel {
  id: Id;
  type: number;
  guild_id: Id;
  name: string;
  position: number;
  permission_overwrites: Overwrite[];
  parent_id: Id | null;
  topic: string | null;
  last_message_id: Id | null;
  /** Voice and stage channels only, as are those after it. */
  bitrate?: number;
  user_limit?: number;
  /** Null is where its guild is. */
  rtc_region?: string | null;
}

export interface Region {
  id: string;
  name: string;
}

export interface MemberFields {
  nick: string | null;
  roles: Id[];
  joined_at: string;
  deaf: boolean;
  mute: boolean;
  communication_disabled_until: string | null;
}

/** Inside a message the user is left out: it is the author. */
export interface Member extends MemberFields {
  user: User;
}

export interface VoiceState {
  channel_id: Id | null;
  user_id: Id;
  session_id: string;
  deaf: boolean;
  mute: boolean;
  self_deaf: boolean;
  self_mute: boolean;
  suppress: boolean;
}

export interface VoiceStateUpdate extends VoiceState {
  guild_id: Id;
  member?: Member;
}

export interface VoiceServerUpdate {
  token: string;
  guild_id: Id;
  /** Null: no voice server yet, the next of these says more. */
  endpoint: string | null;
}

export interface Presence {
  user: { id: Id };
  guild_id: Id;
  status: string;
}

export interface Guild {
  id: Id;
  name: string;
  owner_id: Id;
  roles: Role[];
}

export interface GuildCreate extends Guild {
  unavailable: boolean;
  large: boolean;
  member_count: number;
  voice_states: VoiceState[];
  members: Member[];
  channels: Channel[];
  presences: Presence[];
}

export interface Message {
  id: Id;
  channel_id: Id;
  guild_id?: Id;
  author: User;
  member?: MemberFields;
  content: string;
  timestamp: string;
  edited_timestamp: string | null;
  mentions: User[];
  nonce?: string | number;
}

export interface Ban {
  reason: string | null;
  user: User;
}

export interface Invite {
  code: string;
  guild: { id: Id; name: string };
  channel: { id: Id; name: string; type: number };
  inviter: User | null;
  uses: number;
  max_uses: number;
  expires_at: string | null;
  approximate_member_count: number;
}

/** An id's first 42 bits are the milliseconds since the beginning of 2015. */
export function createdAt(id: Id): number {
  return Number(BigInt(id) >> 22n) + 1_420_070_400_000;
}

/** Ids in the order of their making: shorter ones are smaller numbers. */
export function compareIds(a: Id, b: Id): number {
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}

/** Whether a status is one of somebody who is here; no status is offline. */
export function isOnline(status: string | undefined): boolean {
  return status !== undefined && status !== 'offline' && status !== 'invisible';
}
