import { describe, expect, it } from 'vitest';

import type { Role } from '../protocol/objects';
import { Permission as P } from '../protocol/permissions';
import { colorOf, isAbove, mayChangeNick, mayChangeRole, mayGiveRole, memberGroups, memberRoles, rolesOf } from './roles';
import type { GuildState } from './store';

const NOW = Date.parse('2030-01-01');
const role = (id: string, more: Partial<Role> = {}): Role => ({ id, name: id, color: 0, hoist: false, position: 1, permissions: '0', ...more });
const member = (id: string, roles: string[]) => ({
  user: { id, username: id, global_name: null, bot: false },
  nick: null, roles, joined_at: '', deaf: false, mute: false, communication_disabled_until: null,
});
/** The owner is 1. Of the roles, 50 stands above all, then 20, 21 and 100 by their age. */
function guild(people: Record<string, string[]>, everyone = 0n, more: Partial<GuildState> = {}): GuildState {
  const roles = [
    role('100', { permissions: String(P.MANAGE_ROLES), color: 0x00ff00 }),
    role('10', { position: 0, permissions: String(everyone) }),
    role('21', { permissions: String(P.MANAGE_NICKNAMES) }),
    role('20', { permissions: String(P.MANAGE_ROLES), color: 0xff0000, hoist: true }),
    role('50', { position: 2, hoist: true }),
  ];
  return {
    id: '10', name: 'g', ownerId: '1', isAvailable: true, isLarge: false, memberCount: 0, channels: {}, voice: {}, presences: {},
    roles: Object.fromEntries(roles.map((one) => [one.id, one])),
    members: Object.fromEntries(Object.entries(people).map(([id, roles]) => [id, member(id, roles)])),
    ...more,
  };
}
const named = (state: GuildState, id: string) => state.roles[id] as Role;

describe('roles', () => {
  it('stand by position, the older of two above, without the one of everybody', () => {
    expect(rolesOf(guild({})).map(({ id }) => id)).toEqual(['50', '20', '21', '100']);
  });

  it('of a member are those that are still there, highest first', () => {
    const state = guild({ '2': ['100', '404', '50'] });
    expect(memberRoles(state, state.members['2']).map(({ id }) => id)).toEqual(['50', '100']);
    expect(memberRoles(state, undefined)).toEqual([]);
  });

  it('are changed and given by whoever manages roles, below their own highest', () => {
    const check = (user: string, roles: string[], id: string, change: boolean, give: boolean, everyone = 0n) => {
      const state = guild({ [user]: roles }, everyone);
      expect(mayChangeRole(state, user, named(state, id), NOW), `${user} with ${roles.join()} changes ${id}`).toBe(change);
      expect(mayGiveRole(state, user, named(state, id), NOW), `${user} with ${roles.join()} gives ${id}`).toBe(give);
    };
    check('1', [], '50', true, true);
    check('2', ['20'], '21', true, true);
    check('2', ['20'], '20', false, false);
    check('2', ['20'], '50', false, false);
    // The highest role counts, and not the one that grants.
    check('2', ['50', '100'], '20', true, true);
    check('2', ['50'], '20', false, false);
    check('2', ['20'], '10', true, false);
    check('2', ['21'], '10', false, false);
    // Who has no role is below the lowest, and not below everybody's.
    check('2', [], '10', true, false, P.MANAGE_ROLES);
    check('2', [], '100', false, false, P.MANAGE_ROLES);
  });

  it('put whom they are given to above others', () => {
    const state = guild({ '1': [], '2': ['20'], '3': ['21'], '4': [], '5': [] });
    const above = (user: string) => ['1', '2', '3', '4', '5'].filter((other) => isAbove(state, user, other));
    expect([above('1'), above('2'), above('3'), above('4')]).toEqual([['2', '3', '4', '5'], ['3', '4', '5'], ['4', '5'], []]);
  });

  it('give the colour of the highest that has one', () => {
    const state = guild({ '2': ['100', '20'], '3': ['50', '100'], '4': ['50'] });
    expect(['2', '3', '4', '404'].map((id) => colorOf(state, state.members[id]))).toEqual([0xff0000, 0x00ff00, 0, 0]);
  });
});

it('nicknames are one’s own with a permission, and of those below with another', () => {
  const check = (user: string, other: string, everyone: bigint, expected: boolean) => {
    const state = guild({ '1': [], '2': ['21'], '3': ['20'], '4': [] }, everyone);
    expect(mayChangeNick(state, user, other, NOW), `${user} of ${other}`).toBe(expected);
  };
  check('4', '4', 0n, false);
  check('4', '4', P.CHANGE_NICKNAME, true);
  check('4', '2', P.CHANGE_NICKNAME, false);
  check('2', '2', 0n, true);
  check('2', '4', 0n, true);
  check('2', '3', 0n, false);
  check('2', '1', 0n, false);
  check('1', '3', 0n, true);
  // Nobody is above another without a role.
  check('4', '5', P.MANAGE_NICKNAMES, false);
});

it('those who are here stand by the highest role that stands apart, and those who are away together', () => {
  const presences = { '1': 'online', '2': 'idle', '3': 'online', '4': 'dnd', '5': 'offline' };
  const state = guild({ '1': [], '2': ['21', '20'], '3': ['20', '50'], '4': ['21'], '5': ['50'], '6': [] }, 0n, { presences });
  expect(memberGroups(state).map(({ role, isOnline, ids }) => [role?.id ?? null, isOnline, ...ids])).toEqual([
    ['50', true, '3'],
    ['20', true, '2'],
    [null, true, '1', '4'],
    [null, false, '5', '6'],
  ]);
  expect(memberGroups(guild({ '5': ['50'] })).map(({ ids }) => ids)).toEqual([['5']]);
});
