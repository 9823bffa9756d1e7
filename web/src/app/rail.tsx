// The guilds, one below the other.

import type { JSX } from 'preact';

import { compareIds } from '../protocol/objects';
import type { Client } from './client';
import { dialog } from './dialogs';
import { Icon } from './icons';
import { hue, initials } from './model';
import { roving } from './parts';
import { go, route } from './route';

export function Rail({ client }: { client: Client }): JSX.Element {
  const guilds = Object.values(client.store.value.guilds).sort((a, b) => compareIds(a.id, b.id));
  const here = route.value.at === 'guild' ? route.value.guildId : null;
  const inVoice = client.voice.value.guildId;
  return (
    <nav class="rail" aria-label="Guilds" onKeyDown={(event) => roving(event, '.rail-item')}>
      {guilds.map((guild) => (
        <button
          key={guild.id}
          type="button"
          class={`rail-item${guild.id === here ? ' is-here' : ''}${guild.isAvailable ? '' : ' is-away'}`}
          style={{ '--hue': String(hue(guild.id)) }}
          title={guild.isAvailable ? guild.name : `${guild.name || 'A guild'} is not available right now`}
          aria-label={guild.name || 'A guild that is not available'}
          aria-current={guild.id === here ? 'page' : undefined}
          onClick={() => go({ at: 'guild', guildId: guild.id, channelId: null })}
        >
          {initials(guild.name)}
          {guild.id === inVoice && <span class="rail-badge"><Icon name="speaker" size={12} /></span>}
        </button>
      ))}
      <button type="button" class="rail-item is-action" title="Add a guild" aria-label="Add a guild" onClick={() => (dialog.value = { is: 'guild' })}>
        <Icon name="plus" />
      </button>
    </nav>
  );
}
