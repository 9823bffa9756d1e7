// What was read, in this browser: the protocol of this server has no record of it.

import { signal } from '@preact/signals';

import { compareIds, type Channel, type Id } from '../protocol/objects';
import { recall, write } from './settings';

/** For each channel the newest message that was seen. */
type Seen = Readonly<Record<Id, Id>>;

const NOTHING: Id = '0';
const seen = signal<Seen>({});
let place = '';

/** Each account has its own record. */
export function beginReading(userId: Id): void {
  if (place === `guildhall.read.${userId}`) return;
  place = `guildhall.read.${userId}`;
  seen.value = recall<Seen>(place) ?? {};
}

/** Channels met for the first time count as read: nobody wants to begin with years of news. */
export function meet(channels: Iterable<Channel>): void {
  const met: Record<Id, Id> = {};
  for (const { id, last_message_id } of channels) {
    if (seen.peek()[id] === undefined) met[id] = last_message_id ?? NOTHING;
  }
  keep(met);
}

export function markRead(channelId: Id, messageId: Id | null): void {
  if (messageId === null || compareIds(messageId, seenIn(channelId)) <= 0) return;
  keep({ [channelId]: messageId });
}

export function seenIn(channelId: Id): Id {
  return seen.peek()[channelId] ?? NOTHING;
}

export function isUnread(channel: Channel): boolean {
  const newest = channel.last_message_id;
  return newest !== null && compareIds(newest, seen.value[channel.id] ?? newest) > 0;
}

function keep(more: Seen): void {
  if (Object.keys(more).length === 0) return;
  seen.value = { ...seen.peek(), ...more };
  write(place, JSON.stringify(seen.peek()));
}
