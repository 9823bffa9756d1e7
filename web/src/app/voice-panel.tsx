// Below the channels: the connection, and the user with what they hear and say.

import type { JSX } from 'preact';

import type { Client } from './client';
import { dialog } from './dialogs';
import { Icon } from './icons';
import { MenuItem, showMenu } from './menu';
import { userName } from './model';
import { Avatar, IconButton } from './parts';
import { go } from './route';
import { linkWords, phaseWords } from './sentences';
import { settings } from './settings';
import { drawer } from './shell-state';

const SHORTCUT = /Mac|iPhone|iPad/.test(navigator.userAgent) ? '⌘⇧' : 'Ctrl+Shift+';

export function VoicePanel({ client, onSignOut }: { client: Client; onSignOut: () => void }): JSX.Element {
  return (
    <footer class="panel">
      <Link client={client} />
      <Self client={client} onSignOut={onSignOut} />
    </footer>
  );
}

function Link({ client }: { client: Client }): JSX.Element | null {
  const { phase, guildId, channelId, asked } = client.voice.value;
  if (phase === 'disconnected') return null;
  const to = asked ?? { guildId, channelId };
  const guild = to.guildId === null ? undefined : client.store.value.guilds[to.guildId];
  const channel = to.channelId === null ? undefined : guild?.channels[to.channelId];
  const words = phase === 'voice connected' ? linkWords(client.link.value) : '';
  const state = asked === null ? phaseWords(phase) : 'Moving';
  const kind = phase === 'voice connected' && asked === null ? 'is-good' : 'is-busy';
  return (
    <div class={`link-panel ${kind}`}>
      <button
        type="button"
        class="link-state"
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
      <IconButton icon="hangUp" label="Leave the voice channel" kind="is-danger" onClick={() => client.leave()} />
    </div>
  );
}

function Self({ client, onSignOut }: { client: Client; onSignOut: () => void }): JSX.Element | null {
  const me = client.store.value.me;
  const { selfMute, selfDeaf, mode } = settings.value;
  if (me === null) return null;
  const name = userName(me);
  const isMuted = selfMute || selfDeaf;
  return (
    <div class="self">
      <button type="button" class="self-name" aria-haspopup="menu" title={name} onClick={(event) => showMenu(event, name, () => <MenuItem onClick={onSignOut}>Sign out</MenuItem>)}>
        <Avatar id={me.id} name={name} status="online" isSpeaking={client.speaking.value.has(me.id)} />
        <span class="self-text">
          <span class="ellipsis">{name}</span>
          <small class="ellipsis">{isMuted ? (selfDeaf ? 'Deafened' : 'Muted') : mode === 'voice' ? 'Voice activity' : 'Push to talk'}</small>
        </span>
      </button>
      <IconButton
        icon={isMuted ? 'microphoneOff' : 'microphone'}
        label={`${isMuted ? 'Unmute' : 'Mute'} (${SHORTCUT}M)`}
        isPressed={isMuted}
        kind={isMuted ? 'is-off' : ''}
        onClick={() => client.setMute(!isMuted)}
      />
      <IconButton
        icon={selfDeaf ? 'headphonesOff' : 'headphones'}
        label={`${selfDeaf ? 'Undeafen' : 'Deafen'} (${SHORTCUT}D)`}
        isPressed={selfDeaf}
        kind={selfDeaf ? 'is-off' : ''}
        onClick={() => client.setDeaf(!selfDeaf)}
      />
      <IconButton icon="settings" label="Voice settings" onClick={() => (dialog.value = { is: 'settings' })} />
    </div>
  );
}
