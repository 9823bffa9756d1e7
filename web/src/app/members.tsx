// Who belongs to the guild: those who are here first.

import type { JSX } from 'preact';

import { isOnline } from '../protocol/objects';
import type { GuildState } from '../session/store';
import type { Client } from './client';
import { menuProps, showMenu } from './menu';
import { nameIn } from './model';
import { Avatar, useRoving } from './parts';
import { PersonMenu } from './person-menu';

/** A longer list is searched, not read. */
const SHOWN_MAX = 200;

export function Members({ client, guild }: { client: Client; guild: GuildState }): JSX.Element {
  const all = Object.keys(guild.members).sort((a, b) => nameIn(guild, a).localeCompare(nameIn(guild, b)));
  const online = all.filter((id) => isOnline(guild.presences[id]));
  const offline = all.filter((id) => !isOnline(guild.presences[id]));
  const list = useRoving<HTMLElement>('.member');
  return (
    <aside class="members" aria-label="Members" {...list}>
      <Group title="Online" ids={online} client={client} guild={guild} />
      <Group title="Offline" ids={offline} client={client} guild={guild} />
    </aside>
  );
}

function Group({ title, ids, client, guild }: { title: string; ids: string[]; client: Client; guild: GuildState }): JSX.Element | null {
  if (ids.length === 0) return null;
  return (
    <section>
      <h2>{title} ({ids.length})</h2>
      <ul>
        {ids.slice(0, SHOWN_MAX).map((id) => {
          const name = nameIn(guild, id);
          const menu = () => <PersonMenu client={client} guildId={guild.id} userId={id} />;
          return (
            <li key={id}>
              <button type="button" class={`member${title === 'Offline' ? ' is-offline' : ''}`} aria-haspopup="menu" onClick={(event) => showMenu(event, name, menu)} {...menuProps(name, menu)}>
                <Avatar id={id} name={name} status={guild.presences[id] ?? 'offline'} />
                <span class="ellipsis">{name}</span>
                {id === guild.ownerId && <span class="tag">owner</span>}
              </button>
            </li>
          );
        })}
      </ul>
      {ids.length > SHOWN_MAX && <p class="quiet members-more">and {ids.length - SHOWN_MAX} more</p>}
    </section>
  );
}
