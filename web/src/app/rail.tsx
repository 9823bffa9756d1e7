// The guilds, one below the other.

import type { JSX } from 'preact';

import { compareIds } from '../protocol/objects';
import type { Client } from './client';
import { dialog } from './dialogs';
import { Icon } from './icons';
import { hasNews, hue, initials } from './model';
import { useRoving } from './parts';
import { go, route } from './route';

export function Rail({ client }: { client: Client }): JSX.Element {
  const guilds = Object.values(client.store.value.guilds).sort((a, b) => compareIds(a.id, b.id));
  const here = route.value.at === 'guild' ? route.value.guildId : null;
  const inVoice = client.voice.value.phase === 'disconnected' ? null : client.voice.value.guildId;
  const me = client.store.value.me?.id ?? '';
  const list = useRoving<HTMLElement>('.rail-item', '[aria-current]');
  return (
    <nav class="rail" aria-label="Guilds" {...list}>
      {guilds.map((guild) => {
        const isUnread = guild.id !== here && hasNews(guild, me);
        return (
          <button
            key={guild.id}
            type="button"
            class={`rail-item${guild.id === here ? ' is-here' : ''}${guild.isAvailable ? '' : ' is-away'}${isUnread ? ' is-unread' : ''}`}
            style={{ '--hue': String(hue(guild.id)) }}
            data-initials={initials(guild.name)}
            title={guild.isAvailable ? guild.name : `${guild.name || 'A guild'} is not available right now`}
            aria-label={guild.name || 'A guild that is not available'}
            aria-description={isUnread ? 'unread messages' : undefined}
            aria-current={guild.id === here ? 'page' : undefined}
            onClick={() => go({ at: 'guild', guildId: guild.id, channelId: null })}
          >
            {guild.id === inVoice && <span class="rail-badge"><Icon name="speaker" size={12} /></span>}
          </button>
        );
      })}
      <button type="button" class="rail-item is-action" title="Add a guild" aria-label="Add a guild" onClick={() => (dialog.value = { is: 'guild' })}>
        <Icon name="plus" />
      </button>
    </nav>
  );
}
