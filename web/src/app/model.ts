// Questions about the store that several pages ask.

import { compareIds, ChannelType, type Channel, type Id, type User, type VoiceState } from '../protocol/objects';
import { Permission, has, type Permissions } from '../protocol/permissions';
import { channelPermissions, guildPermissions } from '../session/permissions';
import type { GuildState } from '../session/store';
import { isUnread } from './unread';

export const isVoice = (channel: Channel): boolean => channel.type === ChannelType.VOICE || channel.type === ChannelType.STAGE;

export function userName(user: User): string {
  return user.global_name ?? user.username;
}

/** `user` and `nick` are for people whom the guild's list does not have. */
export function nameIn(guild: GuildState | undefined, userId: Id, user?: User, nick?: string | null): string {
  const member = guild?.members[userId];
  if (member !== undefined) return member.nick ?? userName(member.user);
  return nick ?? (user === undefined ? 'Unknown' : userName(user));
}

export interface Category {
  /** Null: the channels that are in none. */
  channel: Channel | null;
  channels: Channel[];
}

/** Text before voice, as positions say. */
function inOrder(a: Channel, b: Channel): number {
  return Number(isVoice(a)) - Number(isVoice(b)) || a.position - b.position || compareIds(a.id, b.id);
}

/** What the user may see, by category. Empty categories are for those who can put something there. */
export function channelTree(guild: GuildState, userId: Id): Category[] {
  const now = Date.now();
  const visible = Object.values(guild.channels).filter((channel) => has(channelPermissions(guild, channel, userId, now), Permission.VIEW_CHANNEL));
  const mayManage = has(guildPermissions(guild, userId, now), Permission.MANAGE_CHANNELS);
  const categories = visible.filter(({ type }) => type === ChannelType.CATEGORY).sort((a, b) => a.position - b.position || compareIds(a.id, b.id));
  const known = new Set(categories.map(({ id }) => id));
  const rest = visible.filter(({ type }) => type !== ChannelType.CATEGORY).sort(inOrder);
  const tree: Category[] = [{ channel: null, channels: rest.filter(({ parent_id }) => parent_id === null || !known.has(parent_id)) }];
  for (const channel of categories) tree.push({ channel, channels: rest.filter(({ parent_id }) => parent_id === channel.id) });
  return tree.filter(({ channels, channel }) => channels.length > 0 || (channel !== null && mayManage));
}

/** Whether something unread waits in a channel that the user may see. */
export function hasNews(guild: GuildState, userId: Id): boolean {
  return channelTree(guild, userId).some(({ channels }) => channels.some(isUnread));
}

/** Where a guild opens. */
export function firstChannel(guild: GuildState, userId: Id): Channel | null {
  const all = channelTree(guild, userId).flatMap(({ channels }) => channels);
  return all.find((channel) => !isVoice(channel)) ?? all[0] ?? null;
}

export function inVoice(guild: GuildState, channelId: Id): VoiceState[] {
  return Object.values(guild.voice)
    .filter((state) => state.channel_id === channelId)
    .sort((a, b) => nameIn(guild, a.user_id).localeCompare(nameIn(guild, b.user_id)));
}

/** Whether the server would refuse the user for want of room. */
export function isFull(guild: GuildState, userId: Id, channel: Channel): boolean {
  const limit = channel.user_limit ?? 0;
  const others = inVoice(guild, channel.id).filter((state) => state.user_id !== userId);
  return limit > 0 && others.length >= limit && !may(guild, userId, Permission.MOVE_MEMBERS, channel);
}

/** What a user may do in a channel, or in the guild at large. */
export function may(guild: GuildState, userId: Id, asked: Permissions, channel?: Channel): boolean {
  const now = Date.now();
  return has(channel === undefined ? guildPermissions(guild, userId, now) : channelPermissions(guild, channel, userId, now), asked);
}

/** A colour of one's own, from the id: the same for everybody. */
export function hue(id: Id): number {
  let sum = 7;
  for (const c of id) sum = (sum * 31 + c.charCodeAt(0)) % 360;
  return sum;
}

export function initials(name: string): string {
  const parts = name.trim().split(/\s+/).filter((part) => part !== '');
  const letters = parts.slice(0, 2).map((part) => [...part][0] ?? '');
  return letters.join('').toUpperCase() || '?';
}
