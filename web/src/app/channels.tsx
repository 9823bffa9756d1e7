// A guild's channels by category, and who is in the voice channels.

import type { JSX } from 'preact';

import { ChannelType, type Channel, type Id, type VoiceState } from '../protocol/objects';
import { Permission } from '../protocol/permissions';
import type { GuildState } from '../session/store';
import { ChannelMenu, GuildMenu } from './channel-menu';
import type { Client } from './client';
import { dialog } from './dialogs';
import { Icon } from './icons';
import { menuProps, showMenu } from './menu';
import { channelTree, inVoice, isVoice, may, nameIn } from './model';
import { Name } from './name';
import { Avatar, IconButton, useRoving } from './parts';
import { DRAGGED, mayMove, speaks, useDropOfPerson } from './person';
import { PersonMenu } from './person-menu';
import { go, route } from './route';
import { drawer } from './shell-state';
import { isUnread } from './unread';
import { Marks, ModeratedLine, voiceMarks } from './voice-marks';

export function Channels({ client, guild }: { client: Client; guild: GuildState }): JSX.Element {
  const me = client.store.value.me?.id ?? '';
  const mayManage = may(guild, me, Permission.MANAGE_CHANNELS);
  const tree = channelTree(guild, me);
  const list = useRoving<HTMLElement>('.channel, .voice-person', '[aria-current]');
  const create = (parentId: Id | null, type: number = ChannelType.TEXT) => (dialog.value = { is: 'channel', guildId: guild.id, parentId, type });
  return (
    <>
      <header class="side-head">
        <button type="button" class="side-title" aria-haspopup="menu" onClick={(event) => showMenu(event, guild.name, () => <GuildMenu client={client} guild={guild} />)}>
          <h2>{guild.name}</h2>
          <Icon name="more" />
        </button>
      </header>
      <nav class="channels" aria-label="Channels" {...list}>
        {tree.map(({ channel: category, channels }) => (
          <section key={category?.id ?? 'none'}>
            {category !== null && (
              <div class="category">
                <h3>{category.name}</h3>
                {may(guild, me, Permission.MANAGE_CHANNELS, category) && (
                  <IconButton icon="more" size={16} label={`More about ${category.name}`} onClick={(event) => showMenu(event, category.name, () => <ChannelMenu client={client} guild={guild} channel={category} />)} />
                )}
                {mayManage && <IconButton icon="plus" size={16} label={`Create a channel in ${category.name}`} onClick={() => create(category.id)} />}
              </div>
            )}
            <ul>
              {channels.map((channel) => <ChannelItem key={channel.id} client={client} guild={guild} channel={channel} />)}
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

function ChannelItem({ client, guild, channel }: { client: Client; guild: GuildState; channel: Channel }): JSX.Element {
  const me = client.store.value.me?.id ?? '';
  const at = route.value;
  const isHere = at.at === 'guild' && at.channelId === channel.id;
  const isCall = isVoice(channel);
  const people = isCall ? inVoice(guild, channel.id) : [];
  const { phase, channelId, asked } = client.voice.value;
  const isIn = phase !== 'disconnected' && (asked?.channelId ?? channelId) === channel.id;
  const mayConnect = !isCall || may(guild, me, Permission.CONNECT, channel);
  const limit = channel.user_limit ?? 0;
  const hasNews = !isHere && isUnread(channel);
  const [isTarget, dropProps] = useDropOfPerson(client, guild, isCall ? channel : null);
  const open = () => {
    if (isCall && !isIn && mayConnect) client.join(guild.id, channel.id);
    go({ at: 'guild', guildId: guild.id, channelId: channel.id });
    drawer.value = false;
  };
  const menu = () => <ChannelMenu client={client} guild={guild} channel={channel} />;
  return (
    <li class={isTarget ? 'is-target' : ''} {...dropProps}>
      <div class={`channel-row${isHere ? ' is-here' : ''}${hasNews ? ' is-unread' : ''}`} {...menuProps(channel.name, menu)}>
        <button
          type="button"
          class={`channel${mayConnect ? '' : ' is-locked'}`}
          aria-current={isHere ? 'page' : undefined}
          title={mayConnect ? undefined : 'You may not connect to this channel'}
          aria-label={isCall ? `${channel.name}, voice, ${people.length} connected` : undefined}
          aria-description={hasNews ? 'unread messages' : undefined}
          onClick={open}
        >
          <Icon name={channel.type === ChannelType.STAGE ? 'stage' : isCall ? 'speaker' : 'hash'} size={18} />
          <span class="ellipsis">{channel.name}</span>
          {isCall && limit > 0 && <small>{people.length}/{limit}</small>}
        </button>
        <span class="row-actions">
          <IconButton icon="more" size={16} label={`More about ${channel.name}`} isSkipped onClick={(event) => showMenu(event, channel.name, menu)} />
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
  const isSpeaking = speaks(client, state);
  const menu = () => <PersonMenu client={client} guildId={guild.id} userId={state.user_id} />;
  const marks = voiceMarks(state);
  const isMovable = mayMove(client, guild, state);
  return (
    <li>
      <button
        type="button"
        class="voice-person"
        aria-haspopup="menu"
        draggable={isMovable}
        onDragStart={(event) => event.dataTransfer?.setData(DRAGGED, state.user_id)}
        aria-label={[name, ...marks.map(({ label }) => label), ...(isSpeaking ? ['speaks'] : [])].join(', ')}
        onClick={(event) => showMenu(event, name, menu)}
        {...menuProps(name, menu)}
      >
        <Avatar id={state.user_id} name={name} size={24} isSpeaking={isSpeaking} />
        <span class="person-text">
          <Name guild={guild} id={state.user_id} />
          <ModeratedLine marks={marks} />
        </span>
        <Marks marks={marks} />
      </button>
    </li>
  );
}
