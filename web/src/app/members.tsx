// Who belongs to the guild: those who are here first, by the roles that stand apart.

import type { JSX } from 'preact';

import { memberGroups, type MemberGroup } from '../session/roles';
import type { GuildState } from '../session/store';
import type { Client } from './client';
import { menuProps, showMenu } from './menu';
import { nameIn } from './model';
import { Name } from './name';
import { Avatar, useRoving } from './parts';
import { PersonMenu } from './person-menu';

/** A longer list is searched, not read. */
const SHOWN_MAX = 200;

export function Members({ client, guild }: { client: Client; guild: GuildState }): JSX.Element {
  const list = useRoving<HTMLElement>('.member');
  return (
    <aside class="members" aria-label="Members" {...list}>
      {memberGroups(guild).map((group) => (
        <Group key={`${group.isOnline} ${group.role?.id}`} client={client} guild={guild} group={group} />
      ))}
    </aside>
  );
}

function Group({ client, guild, group }: { client: Client; guild: GuildState; group: MemberGroup }): JSX.Element {
  const title = group.role?.name ?? (group.isOnline ? 'Online' : 'Offline');
  const ids = group.ids.sort((a, b) => nameIn(guild, a).localeCompare(nameIn(guild, b)));
  return (
    <section>
      <h2>{title} ({ids.length})</h2>
      <ul>
        {ids.slice(0, SHOWN_MAX).map((id) => {
          const name = nameIn(guild, id);
          const menu = () => <PersonMenu client={client} guildId={guild.id} userId={id} />;
          return (
            <li key={id}>
              <button type="button" class={`member${group.isOnline ? '' : ' is-offline'}`} aria-haspopup="menu" onClick={(event) => showMenu(event, name, menu)} {...menuProps(name, menu)}>
                <Avatar id={id} name={name} status={guild.presences[id] ?? 'offline'} />
                <Name guild={guild} id={id} />
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
