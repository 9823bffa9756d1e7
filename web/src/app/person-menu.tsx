// What one can do with a person: listen louder, name them, and, for those who may, moderate.

import type { JSX } from 'preact';

import type { Id, Role } from '../protocol/objects';
import { Permission } from '../protocol/permissions';
import { isAbove, mayChangeNick, mayGiveRole, memberRoles, rolesOf } from '../session/roles';
import type { GuildState } from '../session/store';
import type { Client } from './client';
import { dialog } from './dialogs';
import { MenuItem } from './menu';
import { inVoice, isVoice, may, nameIn } from './model';
import { attempt } from './notices';
import { settings } from './settings';
import { tint } from './tint';

export function PersonMenu({ client, guildId, userId }: { client: Client; guildId: Id; userId: Id }): JSX.Element | null {
  const store = client.store.value;
  const guild = store.guilds[guildId];
  const me = store.me?.id;
  if (guild === undefined || me === undefined) return null;
  const state = guild.voice[userId];
  const isOther = userId !== me;
  const name = nameIn(guild, userId);
  const change = (part: Parameters<typeof client.rest.changeMember>[2]) => void attempt(client.rest.changeMember(guildId, userId, part));
  const channel = state?.channel_id == null ? undefined : guild.channels[state.channel_id];
  const member = guild.members[userId];
  // Who is no member, or not known as one, has no rank to be below.
  const isBelow = member === undefined ? isOther && userId !== guild.ownerId : isAbove(guild, me, userId);
  const can = (asked: bigint) => state !== undefined && may(guild, me, asked, channel);
  return (
    <>
      <div class="menu-title">{name}</div>
      <RoleTags roles={memberRoles(guild, member)} />
      {isOther && state !== undefined && <VolumeItem client={client} userId={userId} />}
      {can(Permission.MUTE_MEMBERS) && (
        <MenuItem onClick={() => change({ mute: !state?.mute })}>{state?.mute ? 'Let speak again' : 'Mute for everybody'}</MenuItem>
      )}
      {can(Permission.DEAFEN_MEMBERS) && (
        <MenuItem onClick={() => change({ deaf: !state?.deaf })}>{state?.deaf ? 'Let hear again' : 'Deafen'}</MenuItem>
      )}
      {can(Permission.MOVE_MEMBERS) && <MoveItems guild={guild} from={state?.channel_id ?? null} onMove={(to) => change({ channel_id: to })} />}
      {isOther && can(Permission.MOVE_MEMBERS) && <MenuItem onClick={() => change({ channel_id: null })}>Disconnect from voice</MenuItem>}
      {member !== undefined && mayChangeNick(guild, me, userId, Date.now()) && (
        <MenuItem onClick={() => (dialog.value = { is: 'nick', guildId, userId })}>{isOther ? 'Change the nickname' : 'Change my nickname'}</MenuItem>
      )}
      {member !== undefined && rolesOf(guild).some((role) => mayGiveRole(guild, me, role, Date.now())) && (
        <MenuItem onClick={() => (dialog.value = { is: 'member roles', guildId, userId })}>Give and take roles</MenuItem>
      )}
      {isBelow && may(guild, me, Permission.KICK_MEMBERS) && (
        <MenuItem
          kind="is-danger"
          onClick={() => {
            dialog.value = {
              is: 'confirm',
              title: `Kick ${name}?`,
              text: 'They leave the guild, and can come back with a new invite.',
              action: 'Kick',
              do: () => client.rest.kick(guildId, userId),
            };
          }}
        >
          Kick from the guild
        </MenuItem>
      )}
      {isBelow && may(guild, me, Permission.BAN_MEMBERS) && (
        <MenuItem
          kind="is-danger"
          onClick={() => {
            dialog.value = {
              is: 'confirm',
              title: `Ban ${name}?`,
              text: 'They leave the guild, and no invite lets them back in until the ban is lifted (in the menu of the guild).',
              action: 'Ban',
              do: () => client.rest.ban(guildId, userId),
            };
          }}
        >
          Ban from the guild
        </MenuItem>
      )}
    </>
  );
}

function RoleTags({ roles }: { roles: Role[] }): JSX.Element | null {
  if (roles.length === 0) return null;
  return (
    <ul class="menu-tags" aria-label="Roles">
      {roles.map(({ id, name, color }) => {
        const { class: kind, style } = tint(color);
        return <li key={id} class={`tag ${kind}`} style={style}>{name}</li>;
      })}
    </ul>
  );
}

function VolumeItem({ client, userId }: { client: Client; userId: Id }): JSX.Element {
  const volume = settings.value.volumes[userId] ?? 1;
  const percent = Math.round(volume * 100);
  return (
    <label class="menu-range">
      <span>Volume for me <b>{percent}%</b></span>
      <input
        type="range"
        min={0}
        max={200}
        step={5}
        value={percent}
        aria-valuetext={`${percent} percent`}
        // Up and down move through the menu; left and right change the volume.
        onKeyDown={(event) => (event.key === 'ArrowLeft' || event.key === 'ArrowRight') && event.stopPropagation()}
        onInput={(event) => client.setVolume(userId, Number(event.currentTarget.value) / 100)}
      />
    </label>
  );
}

function MoveItems({ guild, from, onMove }: { guild: GuildState; from: Id | null; onMove: (to: Id) => void }): JSX.Element {
  const others = Object.values(guild.channels).filter((channel) => isVoice(channel) && channel.id !== from);
  return (
    <>
      {others.slice(0, 10).map((channel) => (
        <MenuItem key={channel.id} onClick={() => onMove(channel.id)}>
          Move to {channel.name} <small>{inVoice(guild, channel.id).length || ''}</small>
        </MenuItem>
      ))}
    </>
  );
}
