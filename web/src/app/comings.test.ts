import { expect, it } from 'vitest';

import type { Id, VoiceStateUpdate } from '../protocol/objects';
import { EMPTY_STORE, type Store } from '../session/store';
import { comingOrGoing } from './comings';

const user = (id: Id) => ({ id, username: `user${id}`, global_name: null, bot: false });
const update = (user_id: Id, channel_id: Id | null): VoiceStateUpdate => ({
  guild_id: '1', user_id, channel_id, session_id: '', deaf: false, mute: false, self_deaf: false, self_mute: false, suppress: false,
  member: { user: user(user_id), nick: null, roles: [], joined_at: '', deaf: false, mute: false, communication_disabled_until: null },
});
const STORE: Store = {
  ...EMPTY_STORE,
  me: user('1'),
  guilds: {
    '1': {
      id: '1', name: '', ownerId: '', isAvailable: true, isLarge: false, memberCount: 0, roles: {}, channels: {}, members: {}, presences: {},
      voice: { '2': update('2', '10'), '3': update('3', '11') },
    },
  },
};

it('others who come to the channel and go from it are told of, and nobody else', () => {
  const check = (of: VoiceStateUpdate, expected: string | undefined) => expect(comingOrGoing(STORE, '10', of)?.words).toBe(expected);
  check(update('4', '10'), 'user4 joined the channel.');
  check(update('3', '10'), 'user3 joined the channel.');
  check(update('2', '11'), 'user2 left the channel.');
  check(update('2', null), 'user2 left the channel.');
  check(update('2', '10'), undefined);
  check(update('3', null), undefined);
  check(update('4', '11'), undefined);
  check(update('1', '10'), undefined);
});
