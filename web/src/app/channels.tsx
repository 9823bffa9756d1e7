// A guild's channels by category, and who is in the voice channels.

import type { JSX } from 'preact';

import { ChannelType, type Channel, type Id, type VoiceState } from '../protocol/objects';
import { Permission } from '../protocol/permissions';
import type { GuildState } from '../session/store';
import type { Client } from './client';
import { dialog } from './dialogs';
import { Icon } from './icons';
import { MenuItem, menuProps, showMenu } from './menu';
import { channelTree, inVoice, isVoice, may, nameIn } from './model';
import { Avatar, IconButton, roving } from './parts';
import { PersonMenu } from './person-menu';
import { go, route } from './route';
import { drawer } from './shell-state';

export function Channels({ client, guild }: { client: Client; guild: GuildState }): JSX.Element {
  const me = client.store.value.me?.id ?? '';
  const mayManage = may(guild, me, Permission.MANAGE_CHANNELS);
  const tree = channelTree(guild, me);
  const create = (parentId: Id | null, type: number = ChannelType.TEXT) => (dialog.value = { is: 'channel', guildId: guild.id, parentId, type });
  return (
    <>
      <header class="side-head">
        <button type="button" class="side-title" aria-haspopup="menu" onClick={(event) => showMenu(event, guild.name, () => <GuildMenu client={client} guild={guild} />)}>
          <h1>{guild.name}</h1>
          <Icon name="more" />
        </button>
      </header>
      <nav class="channels" aria-label="Channels" onKeyDown={(event) => roving(event, '.channel, .voice-person')}>
        {tree.map(({ channel: category, channels }) => (
          <section key={category?.id ?? 'none'}>
            {category !== null && (
              <div class="category">
                <h2>{category.name}</h2>
                {mayManage && <IconButton icon="plus" size={16} label={`Create a channel in ${category.name}`} onClick={() => create(category.id)} />}
              </div>
            )}
            <ul>
              {channels.map((channel) => <ChannelItem key={channel.id} client={client} guild={guild} channel={channel} mayManage={mayManage} />)}
            </ul>
          </section>
        ))}
        {mayManage && (
          <button type="button" class="channel is-action" onClick={() => create(null)}>
            <Icon name="plus" size={18} /> <span>Create a channel</span>
          </button>
        )}
      </nav>
    </>
  );
}

function ChannelItem({ client, guild, channel, mayManage }: { client: Client; guild: GuildState; channel: Channel; mayManage: boolean }): JSX.Element {
  const me = client.store.value.me?.id ?? '';
  const at = route.value;
  const isHere = at.at === 'guild' && at.channelId === channel.id;
  const isCall = isVoice(channel);
  const people = isCall ? inVoice(guild, channel.id) : [];
  const { phase, channelId, asked } = client.voice.value;
  const isIn = phase !== 'disconnected' && (asked?.channelId ?? channelId) === channel.id;
  const mayConnect = !isCall || may(guild, me, Permission.CONNECT, channel);
  const limit = channel.user_limit ?? 0;
  const open = () => {
    if (isCall && !isIn && mayConnect) client.join(guild.id, channel.id);
    go({ at: 'guild', guildId: guild.id, channelId: channel.id });
    drawer.value = false;
  };
  const menu = () => <ChannelMenu client={client} guild={guild} channel={channel} mayManage={mayManage} />;
  return (
    <li>
      <div class={`channel-row${isHere ? ' is-here' : ''}`} {...menuProps(channel.name, menu)}>
        <button
          type="button"
          class={`channel${mayConnect ? '' : ' is-locked'}`}
          aria-current={isHere ? 'page' : undefined}
          title={mayConnect ? undefined : 'You may not connect to this channel'}
          aria-label={isCall ? `${channel.name}, voice, ${people.length} connected` : undefined}
          onClick={open}
        >
          <Icon name={channel.type === ChannelType.STAGE ? 'stage' : isCall ? 'speaker' : 'hash'} size={18} />
          <span class="ellipsis">{channel.name}</span>
          {isCall && limit > 0 && <small>{people.length}/{limit}</small>}
        </button>
        <span class="row-actions">
          <IconButton icon="more" size={16} label={`More about ${channel.name}`} onClick={(event) => showMenu(event, channel.name, menu)} />
        </span>
      </div>
      {people.length > 0 && (
        <ul class="voice-people" aria-label={`In ${channel.name}`}>
          {people.map((state) => <Person key={state.user_id} client={client} guild={guild} state={state} />)}
        </ul>
      )}
    </li>
  );
}

function Person({ client, guild, state }: { client: Client; guild: GuildState; state: VoiceState }): JSX.Element {
  const name = nameIn(guild, state.user_id);
  const isSpeaking = client.speaking.value.has(state.user_id) && client.voice.value.channelId === state.channel_id;
  const menu = () => <PersonMenu client={client} guildId={guild.id} userId={state.user_id} />;
  const marks = voiceMarks(state);
  return (
    <li>
      <button
        type="button"
        class="voice-person"
        aria-haspopup="menu"
        aria-label={[name, ...marks.map(({ label }) => label), ...(isSpeaking ? ['speaks'] : [])].join(', ')}
        onClick={(event) => showMenu(event, name, menu)}
        {...menuProps(name, menu)}
      >
        <Avatar id={state.user_id} name={name} size={24} isSpeaking={isSpeaking} />
        <span class="ellipsis">{name}</span>
        {marks.map(({ icon, label, isByOthers }) => (
          <span key={icon} class={`mark${isByOthers ? ' is-danger' : ''}`} title={label}><Icon name={icon} size={15} /></span>
        ))}
      </button>
    </li>
  );
}

/** What keeps somebody from speaking or hearing. */
export function voiceMarks(state: VoiceState): { icon: 'microphoneOff' | 'headphonesOff'; label: string; isByOthers: boolean }[] {
  const marks = [];
  if (state.mute || state.suppress) marks.push({ icon: 'microphoneOff' as const, label: 'muted by a moderator', isByOthers: true });
  else if (state.self_mute) marks.push({ icon: 'microphoneOff' as const, label: 'muted', isByOthers: false });
  if (state.deaf) marks.push({ icon: 'headphonesOff' as const, label: 'deafened by a moderator', isByOthers: true });
  else if (state.self_deaf) marks.push({ icon: 'headphonesOff' as const, label: 'deafened', isByOthers: false });
  return marks;
}

function ChannelMenu({ client, guild, channel, mayManage }: { client: Client; guild: GuildState; channel: Channel; mayManage: boolean }): JSX.Element {
  const me = client.store.value.me?.id ?? '';
  const mayInvite = may(guild, me, Permission.CREATE_INSTANT_INVITE, channel);
  return (
    <>
      <MenuItem onClick={() => { go({ at: 'guild', guildId: guild.id, channelId: channel.id }); drawer.value = false; }}>
        {isVoice(channel) ? 'Open without joining' : 'Open'}
      </MenuItem>
      {mayInvite && <MenuItem onClick={() => (dialog.value = { is: 'invite', channelId: channel.id })}>Invite people</MenuItem>}
      {mayManage && <MenuItem onClick={() => (dialog.value = { is: 'rename', channelId: channel.id, name: channel.name })}>Rename</MenuItem>}
      {mayManage && (
        <MenuItem
          kind="is-danger"
          onClick={() => {
            const text = 'Everything written in it is lost.';
            dialog.value = { is: 'confirm', title: `Delete ${channel.name}?`, text, action: 'Delete', do: () => client.rest.deleteChannel(channel.id) };
          }}
        >
          Delete
        </MenuItem>
      )}
    </>
  );
}

function GuildMenu({ client, guild }: { client: Client; guild: GuildState }): JSX.Element {
  const me = client.store.value.me?.id ?? '';
  const first = channelTree(guild, me).flatMap(({ channels }) => channels)[0];
  const isOwner = guild.ownerId === me;
  const end = isOwner
    ? { title: `Delete ${guild.name}?`, text: 'All its channels and everything written in them are lost, for everybody.', action: 'Delete', do: () => client.rest.deleteGuild(guild.id) }
    : { title: `Leave ${guild.name}?`, text: 'You can come back with a new invite.', action: 'Leave', do: () => client.rest.leaveGuild(guild.id) };
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
      <MenuItem kind="is-danger" onClick={() => (dialog.value = { is: 'confirm', ...end })}>{isOwner ? 'Delete the guild' : 'Leave the guild'}</MenuItem>
    </>
  );
}
