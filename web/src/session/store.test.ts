import { describe, expect, it } from 'vitest';

import type { Dispatch } from '../protocol/gateway';
import type { Channel, Message } from '../protocol/objects';
import { ALL_PERMISSIONS, Permission, has } from '../protocol/permissions';
import { channelPermissions } from './permissions';
import { EMPTY_STORE, addHistory, applyEvent, type GuildState, type Store } from './store';

const P = Permission;
const user = (id: string) => ({ id, username: `user${id}`, global_name: null, bot: false });
const member = (id: string, roles: string[] = [], until: string | null = null) => ({
  user: user(id), nick: null, roles, joined_at: '', deaf: false, mute: false, communication_disabled_until: until,
});
const role = (id: string, permissions: bigint) => ({ id, name: id, color: 0, hoist: false, position: 0, permissions: String(permissions) });
const channel = (id: string, overwrites: Channel['permission_overwrites'] = []): Channel => ({
  id, type: 2, guild_id: '10', name: id, position: 0, permission_overwrites: overwrites, parent_id: null, topic: null, last_message_id: null,
});
const voice = (user_id: string, channel_id: string | null) => ({
  guild_id: '10', user_id, channel_id, session_id: 's', deaf: false, mute: false, self_deaf: false, self_mute: false, suppress: false,
});
const message = (id: string, content = id): Message => ({
  id, channel_id: '20', author: user('1'), content, timestamp: '', edited_timestamp: null, mentions: [],
});
const BASE = P.VIEW_CHANNEL | P.CONNECT | P.SPEAK;
const GUILD: Dispatch = {
  t: 'GUILD_CREATE',
  d: {
    id: '10', name: 'g', owner_id: '1', unavailable: false, large: false, member_count: 2, presences: [],
    roles: [role('10', BASE), role('11', P.MUTE_MEMBERS), role('12', P.ADMINISTRATOR)],
    members: [member('1'), member('2')], channels: [channel('20')], voice_states: [voice('2', '20')],
  },
};
const apply = (events: Dispatch[], from: Store = EMPTY_STORE) => events.reduce(applyEvent, from);
const guild = (store: Store) => store.guilds['10'] as GuildState;

describe('the store', () => {
  it('follows a guild', () => {
    const store = apply([GUILD]);
    expect(guild(store)).toMatchObject({ name: 'g', isAvailable: true, voice: { '2': { channel_id: '20' } } });
    const next = apply([
      { t: 'CHANNEL_CREATE', d: channel('21') },
      { t: 'CHANNEL_DELETE', d: channel('20') },
      { t: 'VOICE_STATE_UPDATE', d: { ...voice('2', null) } },
      { t: 'VOICE_STATE_UPDATE', d: { ...voice('3', '21'), member: member('3') } },
      { t: 'GUILD_MEMBER_ADD', d: { ...member('4'), guild_id: '10' } },
      { t: 'GUILD_MEMBER_UPDATE', d: { ...member('4', ['11']), guild_id: '10' } },
      { t: 'GUILD_MEMBER_REMOVE', d: { guild_id: '10', user: user('2') } },
      { t: 'PRESENCE_UPDATE', d: { guild_id: '10', user: { id: '4' }, status: 'online' } },
      { t: 'GUILD_ROLE_CREATE', d: { guild_id: '10', role: role('13', 0n) } },
      { t: 'GUILD_ROLE_DELETE', d: { guild_id: '10', role_id: '11' } },
    ], store);
    expect(Object.keys(guild(next).channels)).toEqual(['21']);
    expect(Object.keys(guild(next).voice)).toEqual(['3']);
    expect(Object.keys(guild(next).members)).toEqual(['1', '3', '4']);
    expect(Object.keys(guild(next).roles)).toEqual(['10', '12', '13']);
    expect(guild(next)).toMatchObject({ memberCount: 2, presences: { '4': 'online' }, members: { '4': { roles: ['11'] } } });
  });

  it('leaves what did not change as it was', () => {
    const store = apply([GUILD]);
    const next = apply([{ t: 'PRESENCE_UPDATE', d: { guild_id: '10', user: { id: '2' }, status: 'idle' } }], store);
    expect(guild(next).channels).toBe(guild(store).channels);
    expect(apply([{ t: 'TYPING_START', d: { channel_id: '20', guild_id: '10', user_id: '2', timestamp: 0 } }], store)).toBe(store);
    expect(apply([{ t: 'CHANNEL_CREATE', d: { ...channel('9'), guild_id: '404' } }], store)).toBe(store);
  });

  it('tells an outage from a farewell, and begins anew with a session', () => {
    const store = apply([GUILD]);
    expect(guild(apply([{ t: 'GUILD_DELETE', d: { id: '10', unavailable: true } }], store)).isAvailable).toBe(false);
    expect(apply([{ t: 'GUILD_DELETE', d: { id: '10' } }], store).guilds).toEqual({});
    const d = { v: 10, user: user('1'), guilds: [{ id: '10', unavailable: true }, { id: '30', unavailable: true }], session_id: '', resume_gateway_url: '' };
    const ready = apply([{ t: 'READY', d }], store);
    expect(Object.values(ready.guilds).map(({ id, name, isAvailable }) => [id, name, isAvailable])).toEqual([['10', 'g', false], ['30', '', false]]);
  });

  it('keeps messages in order, once each, for channels that were looked at', () => {
    expect(apply([{ t: 'MESSAGE_CREATE', d: message('5') }]).histories).toEqual({});
    let store = addHistory(EMPTY_STORE, '20', [message('101'), message('99')], false);
    store = apply([{ t: 'MESSAGE_CREATE', d: message('102') }, { t: 'MESSAGE_CREATE', d: message('102') }], store);
    store = addHistory(store, '20', [message('7'), message('98')], true);
    const ids = () => store.histories['20']?.messages.map(({ id }) => id);
    expect(ids()).toEqual(['7', '98', '99', '101', '102']);
    expect(store.histories['20']?.hasBeginning).toBe(true);
    store = apply([
      { t: 'MESSAGE_UPDATE', d: message('99', 'edited') },
      { t: 'MESSAGE_DELETE', d: { id: '98', channel_id: '20', guild_id: '10' } },
      { t: 'MESSAGE_DELETE_BULK', d: { ids: ['7', '101'], channel_id: '20', guild_id: '10' } },
    ], store);
    expect(ids()).toEqual(['99', '102']);
    expect(store.histories['20']?.messages[0]?.content).toBe('edited');
  });

  it('lets the oldest messages go, and knows then that it has not the beginning', () => {
    const many = Array.from({ length: 1_000 }, (_, at) => message(String(1_000 + at)));
    const full = addHistory(EMPTY_STORE, '20', many, true);
    const next = apply([{ t: 'MESSAGE_CREATE', d: message('3000') }], full).histories['20'];
    expect([next?.messages.length, next?.messages[0]?.id, next?.hasBeginning]).toEqual([1_000, '1001', false]);
    expect(apply([{ t: 'MESSAGE_UPDATE', d: message('3000') }], full).histories['20']?.hasBeginning).toBe(true);
  });

  it('knows the newest message of a channel, looked at or not', () => {
    const newest = (store: Store) => guild(store).channels['20']?.last_message_id;
    expect(newest(apply([GUILD]))).toBeNull();
    expect(newest(apply([GUILD, { t: 'MESSAGE_CREATE', d: { ...message('5'), guild_id: '10' } }]))).toBe('5');
    expect(newest(apply([GUILD, { t: 'MESSAGE_CREATE', d: { ...message('5'), guild_id: '10', channel_id: '404' } }]))).toBeNull();
  });
});

describe('permissions', () => {
  const may = (userId: string, roles: string[], overwrites: Channel['permission_overwrites'], asked: bigint, until: string | null = null) => {
    const state = { ...guild(apply([GUILD])), members: { '2': member('2', roles, until) } };
    return has(channelPermissions(state, channel('20', overwrites), userId, Date.parse('2030-01-01')), asked);
  };
  const everyone = (allow: bigint, deny: bigint) => ({ id: '10', type: 0, allow: String(allow), deny: String(deny) });

  it('come from roles, then overwrites of everyone, of roles, of the member', () => {
    expect(may('1', [], [], ALL_PERMISSIONS)).toBe(true);
    expect(may('2', ['12'], [everyone(0n, P.SPEAK)], ALL_PERMISSIONS)).toBe(true);
    expect(may('2', [], [], P.SPEAK)).toBe(true);
    expect(may('2', [], [], P.MUTE_MEMBERS)).toBe(false);
    expect(may('2', ['11'], [], P.MUTE_MEMBERS)).toBe(true);
    const speakers = { id: '11', type: 0, allow: String(P.SPEAK), deny: '0' };
    const denied = { id: '2', type: 1, allow: '0', deny: String(P.SPEAK) };
    expect(may('2', [], [everyone(0n, P.SPEAK), speakers], P.SPEAK)).toBe(false);
    expect(may('2', ['11'], [everyone(0n, P.SPEAK), speakers], P.SPEAK)).toBe(true);
    expect(may('2', ['11'], [everyone(0n, P.SPEAK), speakers, denied], P.SPEAK)).toBe(false);
  });

  it('are nothing in a hidden channel, and no voice without CONNECT', () => {
    expect(may('2', [], [everyone(0n, P.VIEW_CHANNEL)], P.CONNECT)).toBe(false);
    expect(may('2', [], [everyone(0n, P.CONNECT)], P.SPEAK)).toBe(false);
    expect(may('2', [], [everyone(0n, P.CONNECT)], P.VIEW_CHANNEL)).toBe(true);
  });

  it('shrink in a time-out', () => {
    expect(may('2', [], [], P.SPEAK, '2031-01-01T00:00:00Z')).toBe(false);
    expect(may('2', [], [], P.VIEW_CHANNEL, '2031-01-01T00:00:00Z')).toBe(true);
    expect(may('2', [], [], P.SPEAK, '2029-01-01T00:00:00Z')).toBe(true);
  });
});
