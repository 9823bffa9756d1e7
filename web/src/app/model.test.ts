import { expect, it } from 'vitest';

import { ChannelType, type Channel, type VoiceState } from '../protocol/objects';
import { Permission } from '../protocol/permissions';
import type { GuildState } from '../session/store';
import { channelTree, initials, isFull, nameIn } from './model';

const channel = (id: string, more: Partial<Channel> = {}): Channel => ({
  id, type: ChannelType.TEXT, guild_id: '1', name: id, position: 0, permission_overwrites: [], parent_id: null, topic: null, last_message_id: null, ...more,
});
const voice = (user_id: string): VoiceState => ({
  channel_id: '20', user_id, session_id: '', deaf: false, mute: false, self_deaf: false, self_mute: false, suppress: false,
});
const guild = (granted: bigint, channels: Channel[], people: string[] = []): GuildState => ({
  id: '1', name: 'g', ownerId: '9', isAvailable: true, isLarge: false, memberCount: 3,
  roles: { '1': { id: '1', name: '@everyone', color: 0, hoist: false, position: 0, permissions: String(granted) } },
  channels: Object.fromEntries(channels.map((one) => [one.id, one])),
  members: {}, presences: {}, voice: Object.fromEntries(people.map((id) => [id, voice(id)])),
});

it('a channel is full for who is not in it and may not move others', () => {
  const check = (user: string, limit: number, granted: bigint, people: string[], expected: boolean) => {
    const room = channel('20', { type: ChannelType.VOICE, user_limit: limit });
    expect(isFull(guild(Permission.VIEW_CHANNEL | Permission.CONNECT | granted, [room], people), user, room), `${user} of ${limit}`).toBe(expected);
  };
  check('2', 2, 0n, ['3', '4'], true);
  check('2', 2, 0n, ['3'], false);
  check('2', 2, 0n, ['2', '3'], false);
  check('2', 0, 0n, ['3', '4'], false);
  check('2', 2, Permission.MOVE_MEMBERS, ['3', '4'], false);
  check('9', 2, 0n, ['3', '4'], false);
});

it('channels stand in their categories, text before voice, and nothing hidden is there', () => {
  const hidden = { id: '1', type: 0, allow: '0', deny: String(Permission.VIEW_CHANNEL) };
  const channels = [
    channel('30', { type: ChannelType.VOICE, position: 0 }),
    channel('31', { position: 5 }),
    channel('32', { parent_id: '40' }),
    channel('33', { permission_overwrites: [hidden] }),
    channel('34', { parent_id: '404' }),
    channel('40', { type: ChannelType.CATEGORY }),
    channel('41', { type: ChannelType.CATEGORY }),
  ];
  const seen = (granted: bigint) =>
    channelTree(guild(granted, channels), '2').map((category) => [category.channel?.id ?? null, ...category.channels.map(({ id }) => id)]);
  expect(seen(Permission.VIEW_CHANNEL)).toEqual([[null, '34', '31', '30'], ['40', '32']]);
  expect(seen(Permission.VIEW_CHANNEL | Permission.MANAGE_CHANNELS)).toContainEqual(['41']);
  expect(seen(0n)).toEqual([]);
});

it('somebody is called as the guild has it, or else as whatever tells of them', () => {
  const user = (id: string, global_name: string | null) => ({ id, username: `user${id}`, global_name, bot: false });
  const member = (id: string, nick: string | null) => ({
    user: user(id, null), nick, roles: [], joined_at: '', deaf: false, mute: false, communication_disabled_until: null,
  });
  const here: GuildState = { ...guild(0n, []), members: { '2': member('2', 'Bo'), '3': member('3', null) } };
  expect(nameIn(here, '2', user('2', 'Other'))).toBe('Bo');
  // The nickname of an old message is no longer theirs.
  expect(nameIn(here, '3', user('3', null), 'Old')).toBe('user3');
  expect([nameIn(here, '4'), nameIn(here, '4', user('4', 'Four')), nameIn(here, '4', user('4', 'Four'), 'Nick')]).toEqual(['Unknown', 'Four', 'Nick']);
  expect(nameIn(undefined, '4', user('4', null))).toBe('user4');
});

it('initials are of whole letters, and never nothing', () => {
  expect(['Ada Lovelace', 'bo', ' ', '🎲 dice club', 'élan'].map(initials)).toEqual(['AL', 'B', '?', '🎲D', 'É']);
});
