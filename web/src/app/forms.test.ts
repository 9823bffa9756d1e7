import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, it } from 'vitest';

import { ChannelType, type Channel, type Role } from '../protocol/objects';
import { Permission as P } from '../protocol/permissions';
import * as forms from './forms';
import { channelChange, channelDraft, isChanged, limitMax, roleChange, roleDraft, withPermission, type ChannelChange, type ChannelDraft, type RoleChange, type RoleDraft } from './forms';
import { PERMISSIONS } from './permission-words';

const channel = (type: number, more: Partial<Channel> = {}): Channel => ({
  id: '20', type, guild_id: '1', name: 'one', position: 0, permission_overwrites: [], parent_id: null, topic: null, last_message_id: null, ...more,
});

it('of a channel goes what was changed, and what its kind has', () => {
  const check = (before: Channel, draft: Partial<ChannelDraft>, expected: ChannelChange) => {
    const change = channelChange(before, { ...channelDraft(before), ...draft });
    expect(change).toEqual(expected);
    expect(isChanged(change)).toBe(Object.keys(expected).length > 0);
  };
  const text = channel(ChannelType.TEXT, { topic: 'of old' });
  check(text, {}, {});
  check(text, { name: ' one ', topic: ' of old ' }, {});
  check(text, { name: ' two ' }, { name: 'two' });
  check(text, { topic: ' ' }, { topic: null });
  check(text, { topic: 'of new', userLimit: 3, bitrate: 64_000 }, { topic: 'of new' });
  // A bitrate that no step of the slider has stays while nobody moves it.
  const voice = channel(ChannelType.VOICE, { user_limit: 5, bitrate: 96_001 });
  check(voice, {}, {});
  check(voice, { userLimit: 0 }, { user_limit: 0 });
  check(voice, { bitrate: 128_000, topic: 'none' }, { bitrate: 128_000 });
  check(voice, { region: 'eu' }, { rtc_region: 'eu' });
  check({ ...voice, rtc_region: 'eu' }, { region: '' }, { rtc_region: null });
  check({ ...voice, rtc_region: 'eu' }, { bitrate: 64_000 }, { bitrate: 64_000 });
  check(text, { region: 'eu' }, {});
  check(channel(ChannelType.CATEGORY), { name: 'two', topic: '', userLimit: 1 }, { name: 'two' });
});

it('of a role goes what was changed, and permissions nobody has words for stay', () => {
  const unknown = 1n << 62n;
  const role: Role = { id: '30', name: 'one', color: 5, hoist: false, position: 1, permissions: String(P.SPEAK | unknown) };
  const check = (change: (draft: RoleDraft) => RoleDraft, expected: RoleChange) => expect(roleChange(role, change(roleDraft(role)))).toEqual(expected);
  check((draft) => draft, {});
  check((draft) => ({ ...draft, name: ' two ', color: 0, hoist: true }), { name: 'two', color: 0, hoist: true });
  check((draft) => withPermission(draft, P.SPEAK, true), {});
  check((draft) => withPermission(draft, P.SPEAK, false), { permissions: String(unknown) });
  check((draft) => withPermission(draft, P.CONNECT, true), { permissions: String(P.SPEAK | P.CONNECT | unknown) });
  check((draft) => withPermission(withPermission(draft, P.CONNECT, true), P.CONNECT, false), {});
});

it('bounds are the server’s', () => {
  const source = readFileSync(resolve(import.meta.dirname, '../../../crates/guilds-core/src/limits.rs'), 'utf8');
  const bound = (name: string) => Number(new RegExp(`const ${name}: \\w+ = ([\\d_]+);`).exec(source)?.[1]?.replaceAll('_', ''));
  expect(forms.NAME_MAX).toBe(bound('NAME_CHARS_MAX'));
  expect(forms.NICK_MAX).toBe(bound('NICK_CHARS_MAX'));
  expect(forms.TOPIC_MAX).toBe(bound('TOPIC_CHARS_MAX'));
  expect([forms.BITRATE_MIN, forms.BITRATE_MAX]).toEqual([bound('BITRATE_MIN'), bound('BITRATE_MAX')]);
  expect(limitMax(channel(ChannelType.VOICE))).toBe(bound('USER_LIMIT_VOICE_MAX'));
  expect(limitMax(channel(ChannelType.STAGE))).toBe(bound('USER_LIMIT_STAGE_MAX'));
});

it('each permission has one box, and words of its own', () => {
  const all = PERMISSIONS.flatMap(({ permissions }) => permissions);
  expect(new Set(all.map(([permission]) => permission)).size).toBe(all.length);
  expect(new Set(all.map(([, words]) => words)).size).toBe(all.length);
});
