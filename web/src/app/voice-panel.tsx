// Below the channels: the connection, and the user with what they hear and say.

import type { JSX } from 'preact';

import type { Id } from '../protocol/objects';
import { mayChangeNick } from '../session/roles';
import type { Client } from './client';
import { dialog } from './dialogs';
import { Icon } from './icons';
import { MenuItem, showMenu } from './menu';
import { nameIn, userName } from './model';
import { Avatar, IconButton } from './parts';
import { go, route } from './route';
import { linkWords, phaseWords } from './sentences';
import { settings } from './settings';
import { drawer, isNarrow } from './shell-state';
import { DeafButton, HoldButton, LeaveButton, MuteButton } from './voice-controls';

export function VoicePanel({ client, onSignOut }: { client: Client; onSignOut: () => void }): JSX.Element {
  return (
    <footer class="panel">
      <Link client={client} />
      <Self client={client} onSignOut={onSignOut} />
    </footer>
  );
}

/** What the panel has, for screens on which the panel is put away. */
export function CallBar({ client }: { client: Client }): JSX.Element | null {
  if (!isNarrow.value || client.voice.value.phase === 'disconnected') return null;
  return (
    <div class="call-bar">
      <LinkState client={client} />
      <MuteButton client={client} />
      <DeafButton client={client} />
      <LeaveButton client={client} />
      <HoldButton client={client} />
    </div>
  );
}

function Link({ client }: { client: Client }): JSX.Element | null {
  if (client.voice.value.phase === 'disconnected') return null;
  return (
    <div class="link-panel">
      <LinkState client={client} />
      <LeaveButton client={client} />
    </div>
  );
}

function LinkState({ client }: { client: Client }): JSX.Element {
  const { phase, guildId, channelId, asked } = client.voice.value;
  const to = asked ?? { guildId, channelId };
  const guild = to.guildId === null ? undefined : client.store.value.guilds[to.guildId];
  const channel = to.channelId === null ? undefined : guild?.channels[to.channelId];
  const words = phase === 'voice connected' ? linkWords(client.link.value) : '';
  const state = asked === null ? phaseWords(phase) : 'Moving';
  const kind = phase === 'voice connected' && asked === null ? 'is-good' : 'is-busy';
  return (
    <button
      type="button"
      class={`link-state ${kind}`}
      title="Show the channel"
      onClick={() => {
        if (guild !== undefined) go({ at: 'guild', guildId: guild.id, channelId: channel?.id ?? null });
        drawer.value = false;
      }}
    >
      <Icon name="signal" size={18} />
      <span class="link-text">
        <strong role="status">{state}</strong>
        <small class="ellipsis">{[channel?.name, guild?.name].filter(Boolean).join(' in ')}</small>
        <small class="link-numbers">{words}</small>
      </span>
    </button>
  );
}

function Self({ client, onSignOut }: { client: Client; onSignOut: () => void }): JSX.Element | null {
  const me = client.store.value.me;
  if (me === null) return null;
  // As the guild that is open knows them.
  const guild = route.value.at === 'guild' ? client.store.value.guilds[route.value.guildId] : undefined;
  const name = nameIn(guild, me.id, me);
  const menu = () => (
    <>
      <div class="menu-title">{userName(me)}</div>
      {guild !== undefined && mayChangeNick(guild, me.id, me.id, Date.now()) && (
        <MenuItem onClick={() => (dialog.value = { is: 'nick', guildId: guild.id, userId: me.id })}>Change my nickname in {guild.name}</MenuItem>
      )}
      <MenuItem onClick={onSignOut}>Sign out</MenuItem>
    </>
  );
  return (
    <div class="self">
      <button type="button" class="self-name" aria-haspopup="menu" title={name} onClick={(event) => showMenu(event, name, menu)}>
        <Avatar id={me.id} name={name} status="online" isSpeaking={client.speaking.value.has(me.id)} />
        <span class="self-text">
          <span class="ellipsis">{name}</span>
          <small>{selfWords(client, me.id)}</small>
        </span>
      </button>
      <MuteButton client={client} />
      <DeafButton client={client} />
      <IconButton icon="settings" label="Voice settings" onClick={() => (dialog.value = { is: 'settings' })} />
    </div>
  );
}

/** What others hear of this user, and why. */
function selfWords(client: Client, me: Id): string {
  const { selfMute, selfDeaf } = settings.value;
  const state = client.voiceChannel.value?.guild.voice[me];
  if (state?.mute) return 'Muted by a moderator';
  if (state?.suppress) return 'Listening only';
  if (client.voiceChannel.value !== null && client.isWithoutMicrophone.value) return 'No microphone';
  if (state?.deaf) return 'Deafened by a moderator';
  if (selfDeaf) return 'Deafened';
  if (selfMute) return 'Muted';
  return client.talkMode.value === 'voice' ? 'Voice activity' : 'Push to talk';
}
