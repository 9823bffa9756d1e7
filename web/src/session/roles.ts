// The hierarchy of roles: who may change which role and whom, and what a member's roles make of how the member is shown. The
// server decides; this is for not offering what it would refuse.

import { compareIds, isOnline, type Id, type Member, type Role } from '../protocol/objects';
import { Permission, has } from '../protocol/permissions';
import { guildPermissions } from './permissions';
import type { GuildState } from './store';

/** Highest first. Of one position the older role is the higher. */
export function compareRoles(a: Role, b: Role): number {
  return b.position - a.position || compareIds(a.id, b.id);
}

/** The roles that can be given, highest first: not everybody's, which has the guild's id. */
export function rolesOf(guild: GuildState): Role[] {
  return Object.values(guild.roles).filter(({ id }) => id !== guild.id).sort(compareRoles);
}

/** Roles that were deleted may still stand at a member. */
export function memberRoles(guild: GuildState, member: Pick<Member, 'roles'> | undefined): Role[] {
  const known = (member?.roles ?? []).map((id) => guild.roles[id]).filter((role) => role !== undefined);
  return known.sort(compareRoles);
}

/** Whether a user stands above a role: the owner above all, others by their highest role. */
function isAboveRole(guild: GuildState, userId: Id, role: Role): boolean {
  if (guild.ownerId === userId) return true;
  const highest = memberRoles(guild, guild.members[userId])[0];
  return highest !== undefined && compareRoles(highest, role) < 0;
}

/** Whether a user stands above another one, so that what the user may do reaches them. Nobody stands above themselves. */
export function isAbove(guild: GuildState, userId: Id, other: Id): boolean {
  if (other === guild.ownerId) return false;
  const highest = memberRoles(guild, guild.members[other])[0];
  if (highest !== undefined) return isAboveRole(guild, userId, highest);
  return guild.ownerId === userId || memberRoles(guild, guild.members[userId]).length > 0;
}

/** Whether a user may change a role. Of everybody's role the permissions only, whatever the user's rank. */
export function mayChangeRole(guild: GuildState, userId: Id, role: Role, now: number): boolean {
  if (!has(guildPermissions(guild, userId, now), Permission.MANAGE_ROLES)) return false;
  return role.id === guild.id || isAboveRole(guild, userId, role);
}

/** Whether a user may give a role and take it. */
export function mayGiveRole(guild: GuildState, userId: Id, role: Role, now: number): boolean {
  return role.id !== guild.id && mayChangeRole(guild, userId, role, now);
}

export function mayChangeNick(guild: GuildState, userId: Id, other: Id, now: number): boolean {
  const permissions = guildPermissions(guild, userId, now);
  if (has(permissions, Permission.MANAGE_NICKNAMES) && (userId === other || isAbove(guild, userId, other))) return true;
  return userId === other && has(permissions, Permission.CHANGE_NICKNAME);
}

/** The colour of the highest role that has one; 0 where none has. */
export function colorOf(guild: GuildState, member: Pick<Member, 'roles'> | undefined): number {
  return memberRoles(guild, member).find(({ color }) => color !== 0)?.color ?? 0;
}

export interface MemberGroup {
  /** Null: those who are here, or not here, without a role that stands apart. */
  role: Role | null;
  isOnline: boolean;
  ids: Id[];
}

/** Who belongs to the guild: those who are here by their highest role that stands apart, the others, those who are away. */
export function memberGroups(guild: GuildState): MemberGroup[] {
  const apart = rolesOf(guild).filter(({ hoist }) => hoist);
  const groups: MemberGroup[] = [...apart, null].map((role) => ({ role, isOnline: true, ids: [] }));
  const away: MemberGroup = { role: null, isOnline: false, ids: [] };
  for (const [id, member] of Object.entries(guild.members)) {
    // Where none is found, -1 is the last group: the one without a role.
    const at = apart.findIndex((role) => member.roles.includes(role.id));
    const group = isOnline(guild.presences[id]) ? groups.at(at) : away;
    group?.ids.push(id);
  }
  return [...groups, away].filter(({ ids }) => ids.length > 0);
}
