import { expect, it } from 'vitest';

import type { Channel } from '../protocol/objects';
import { beginReading, isUnread, markRead, meet, seenIn } from './unread';

const channel = (id: string, last_message_id: string | null): Channel => ({
  id, type: 0, guild_id: '1', name: id, position: 0, permission_overwrites: [], parent_id: null, topic: null, last_message_id,
});

it('a channel that is met for the first time is read, and what comes later is not', () => {
  beginReading('1');
  meet([channel('10', '99'), channel('11', null)]);
  expect([channel('10', '99'), channel('11', null)].map(isUnread)).toEqual([false, false]);
  expect([channel('10', '100'), channel('11', '5')].map(isUnread)).toEqual([true, true]);
  meet([channel('10', '100')]);
  expect(isUnread(channel('10', '100')), 'met again').toBe(true);
  expect(isUnread(channel('12', '7')), 'never met').toBe(false);
});

it('reading goes forward only, by the order in which messages were made', () => {
  markRead('10', '1000');
  markRead('10', '999');
  markRead('10', null);
  expect(seenIn('10')).toBe('1000');
  expect([channel('10', '1000'), channel('10', '1001')].map(isUnread)).toEqual([false, true]);
});

it('each account has its own record', () => {
  beginReading('2');
  expect(seenIn('10')).toBe('0');
});
