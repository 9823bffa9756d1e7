// What a member may do: owner, roles, channel overwrites, time-outs. The server decides; this is for not offering what it
// would refuse.

import { OverwriteType, type Channel, type Id } from '../protocol/objects';
import { ALL_PERMISSIONS, NO_PERMISSIONS, Permission, TIMED_OUT_PERMISSIONS, VOICE_PERMISSIONS, has, readPermissions, type Permissions } from '../protocol/permissions';
import type { GuildState } from './store';

export function guildPermissions(guild: GuildState, userId: Id, now: number): Permissions {
  if (guild.ownerId === userId) return ALL_PERMISSIONS;
  const member = guild.members[userId];
  let granted = NO_PERMISSIONS;
  // The role of everyone has the guild's id.
  for (const id of [guild.id, ...(member?.roles ?? [])]) granted |= readPermissions(guild.roles[id]?.permissions ?? '');
  if (has(granted, Permission.ADMINISTRATOR)) return ALL_PERMISSIONS;
  return timedOut(granted, guild, userId, now);
}

export function channelPermissions(guild: GuildState, channel: Channel, userId: Id, now: number): Permissions {
  const base = guildPermissions(guild, userId, now);
  if (base === ALL_PERMISSIONS) return base;
  const roles = new Set(guild.members[userId]?.roles ?? []);
  const sum = (wanted: (id: Id, type: number) => boolean) => {
    let allow = NO_PERMISSIONS;
    let deny = NO_PERMISSIONS;
    for (const overwrite of channel.permission_overwrites) {
      if (!wanted(overwrite.id, overwrite.type)) continue;
      allow |= readPermissions(overwrite.allow);
      deny |= readPermissions(overwrite.deny);
    }
    return { allow, deny };
  };
  let result = base;
  const apply = ({ allow, deny }: { allow: Permissions; deny: Permissions }) => {
    result = (result & ~deny) | allow;
  };
  apply(sum((id, type) => type === OverwriteType.ROLE && id === guild.id));
  apply(sum((id, type) => type === OverwriteType.ROLE && id !== guild.id && roles.has(id)));
  apply(sum((id, type) => type === OverwriteType.MEMBER && id === userId));
  result = timedOut(result, guild, userId, now);
  if (!has(result, Permission.VIEW_CHANNEL)) return NO_PERMISSIONS;
  return has(result, Permission.CONNECT) ? result : result & ~VOICE_PERMISSIONS;
}

function timedOut(permissions: Permissions, guild: GuildState, userId: Id, now: number): Permissions {
  const until = guild.members[userId]?.communication_disabled_until;
  return until != null && Date.parse(until) > now ? permissions & TIMED_OUT_PERMISSIONS : permissions;
}
