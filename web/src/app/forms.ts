// What the forms of channels, roles and nicknames hold, and what of it goes to the server: only what was changed, so that nothing
// is undone that somebody else changed meanwhile.

import { ChannelType, type Channel, type Role } from '../protocol/objects';
import { readPermissions, type Permissions } from '../protocol/permissions';
import { isVoice } from './model';

/** The server's bounds, in crates/guilds-core/src/limits.rs. */
export const NAME_MAX = 100;
export const NICK_MAX = 32;
export const TOPIC_MAX = 1_024;
export const BITRATE_MIN = 8_000;
export const BITRATE_MAX = 384_000;
const LIMIT_VOICE_MAX = 99;
const LIMIT_STAGE_MAX = 10_000;

export interface ChannelDraft {
  name: string;
  topic: string;
  /** Nobody is turned away at 0. */
  userLimit: number;
  bitrate: number;
  /** Empty is where its guild is. */
  region: string;
}

export interface ChannelChange {
  name?: string;
  topic?: string | null;
  user_limit?: number;
  bitrate?: number;
  rtc_region?: string | null;
}

export const limitMax = (channel: Channel): number => (channel.type === ChannelType.STAGE ? LIMIT_STAGE_MAX : LIMIT_VOICE_MAX);

export function channelDraft({ name, topic, user_limit, bitrate, rtc_region }: Channel): ChannelDraft {
  return { name, topic: topic ?? '', userLimit: user_limit ?? 0, bitrate: bitrate ?? BITRATE_MIN, region: rtc_region ?? '' };
}

export function channelChange(channel: Channel, draft: ChannelDraft): ChannelChange {
  const before = channelDraft(channel);
  const change: ChannelChange = {};
  const name = draft.name.trim();
  const topic = draft.topic.trim();
  if (name !== before.name) change.name = name;
  if (isVoice(channel)) {
    if (draft.userLimit !== before.userLimit) change.user_limit = draft.userLimit;
    if (draft.bitrate !== before.bitrate) change.bitrate = draft.bitrate;
    if (draft.region !== before.region) change.rtc_region = draft.region === '' ? null : draft.region;
  } else if (topic !== before.topic) change.topic = topic === '' ? null : topic;
  return change;
}

export interface RoleDraft {
  name: string;
  color: number;
  hoist: boolean;
  permissions: Permissions;
}

export interface RoleChange {
  name?: string;
  color?: number;
  hoist?: boolean;
  permissions?: string;
}

export function roleDraft({ name, color, hoist, permissions }: Role): RoleDraft {
  return { name, color, hoist, permissions: readPermissions(permissions) };
}

/** Bits that no box stands for stay as they are. */
export function withPermission(draft: RoleDraft, permission: Permissions, isOn: boolean): RoleDraft {
  return { ...draft, permissions: isOn ? draft.permissions | permission : draft.permissions & ~permission };
}

export function roleChange(role: Role, draft: RoleDraft): RoleChange {
  const before = roleDraft(role);
  const change: RoleChange = {};
  const name = draft.name.trim();
  if (name !== before.name) change.name = name;
  if (draft.color !== before.color) change.color = draft.color;
  if (draft.hoist !== before.hoist) change.hoist = draft.hoist;
  if (draft.permissions !== before.permissions) change.permissions = String(draft.permissions);
  return change;
}

export function isChanged(change: object): boolean {
  return Object.keys(change).length > 0;
}
