// What one can do with a channel, and with a guild.

import type { JSX } from 'preact';

import { ChannelType, type Channel } from '../protocol/objects';
import { Permission } from '../protocol/permissions';
import type { GuildState } from '../session/store';
import type { Client } from './client';
import { dialog } from './dialogs';
import { MenuItem } from './menu';
import { channelTree, isVoice, may } from './model';
import { go } from './route';
import { drawer } from './shell-state';

export function ChannelMenu({ client, guild, channel }: { client: Client; guild: GuildState; channel: Channel }): JSX.Element {
  const me = client.store.value.me?.id ?? '';
  const mayManage = may(guild, me, Permission.MANAGE_CHANNELS, channel);
  const isCategory = channel.type === ChannelType.CATEGORY;
  const mayInvite = !isCategory && may(guild, me, Permission.CREATE_INSTANT_INVITE, channel);
  return (
    <>
      {!isCategory && (
        <MenuItem onClick={() => { go({ at: 'guild', guildId: guild.id, channelId: channel.id }); drawer.value = false; }}>
          {isVoice(channel) ? 'Open without joining' : 'Open'}
        </MenuItem>
      )}
      {mayInvite && <MenuItem onClick={() => (dialog.value = { is: 'invite', channelId: channel.id })}>Invite people</MenuItem>}
      {mayManage && <MenuItem onClick={() => (dialog.value = { is: 'channel settings', channel })}>Settings of the {isCategory ? 'category' : 'channel'}</MenuItem>}
      {mayManage && (
        <MenuItem
          kind="is-danger"
          onClick={() => {
            const text = isCategory ? 'Its channels stay, in no category.' : 'Everything written in it is lost.';
            dialog.value = { is: 'confirm', title: `Delete ${channel.name}?`, text, action: 'Delete', do: () => client.rest.deleteChannel(channel.id) };
          }}
        >
          Delete
        </MenuItem>
      )}
    </>
  );
}

export function GuildMenu({ client, guild }: { client: Client; guild: GuildState }): JSX.Element {
  const me = client.store.value.me?.id ?? '';
  const first = channelTree(guild, me).flatMap(({ channels }) => channels)[0];
  const isOwner = guild.ownerId === me;
  const end = isOwner
    ? { title: `Delete ${guild.name}?`, text: 'All its channels and everything written in them are lost, for everybody.', action: 'Delete', do: () => client.goFrom(guild.id, client.rest.deleteGuild(guild.id)) }
    : { title: `Leave ${guild.name}?`, text: 'You can come back with a new invite.', action: 'Leave', do: () => client.goFrom(guild.id, client.rest.leaveGuild(guild.id)) };
  return (
    <>
      {first !== undefined && may(guild, me, Permission.CREATE_INSTANT_INVITE, first) && (
        <MenuItem onClick={() => (dialog.value = { is: 'invite', channelId: first.id })}>Invite people</MenuItem>
      )}
      {may(guild, me, Permission.MANAGE_CHANNELS) && (
        <>
          <MenuItem onClick={() => (dialog.value = { is: 'channel', guildId: guild.id, parentId: null, type: ChannelType.TEXT })}>Create a channel</MenuItem>
          <MenuItem onClick={() => (dialog.value = { is: 'channel', guildId: guild.id, parentId: null, type: ChannelType.CATEGORY })}>Create a category</MenuItem>
        </>
      )}
      {may(guild, me, Permission.MANAGE_GUILD) && (
        <MenuItem onClick={() => (dialog.value = { is: 'rename', guildId: guild.id, name: guild.name })}>Rename the guild</MenuItem>
      )}
      {may(guild, me, Permission.MANAGE_ROLES) && <MenuItem onClick={() => (dialog.value = { is: 'roles', guildId: guild.id, from: null })}>Roles</MenuItem>}
      {may(guild, me, Permission.BAN_MEMBERS) && <MenuItem onClick={() => (dialog.value = { is: 'bans', guildId: guild.id })}>Who is banned</MenuItem>}
      <MenuItem kind="is-danger" onClick={() => (dialog.value = { is: 'confirm', ...end })}>{isOwner ? 'Delete the guild' : 'Leave the guild'}</MenuItem>
    </>
  );
}
