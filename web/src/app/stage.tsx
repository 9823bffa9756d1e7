// A voice channel in the large: everybody in it, with a ring around who speaks.

import type { JSX } from 'preact';

import type { Channel } from '../protocol/objects';
import { Permission } from '../protocol/permissions';
import type { GuildState } from '../session/store';
import type { Client } from './client';
import { menuProps, showMenu } from './menu';
import { inVoice, may, nameIn } from './model';
import { Name } from './name';
import { Avatar, useRoving } from './parts';
import { speaks } from './person';
import { PersonMenu } from './person-menu';
import { isNarrow } from './shell-state';
import { HoldButton } from './voice-controls';
import { Marks, ModeratedLine, voiceMarks } from './voice-marks';

/** With more there is not the room to show everybody large. */
const LARGE_MAX = 6;

export function Stage({ client, guild, channel }: { client: Client; guild: GuildState; channel: Channel }): JSX.Element {
  const me = client.store.value.me?.id ?? '';
  const people = inVoice(guild, channel.id);
  const { phase, channelId } = client.voice.value;
  const isIn = phase !== 'disconnected' && channelId === channel.id;
  const mayConnect = may(guild, me, Permission.CONNECT, channel);
  const tiles = useRoving<HTMLUListElement>('.tile');
  const isMany = people.length > LARGE_MAX;
  return (
    <section class="stage" aria-label={`Voice in ${channel.name}`}>
      {people.length === 0 && <p class="quiet">{isIn ? 'One moment…' : 'Nobody is here yet.'}</p>}
      <ul class={`tiles${isMany ? ' is-many' : ''}`} aria-label={`Everybody in ${channel.name}`} {...tiles}>
        {people.map((state) => {
          const name = nameIn(guild, state.user_id);
          const isSpeaking = speaks(client, state);
          const menu = () => <PersonMenu client={client} guildId={guild.id} userId={state.user_id} />;
          const marks = voiceMarks(state);
          return (
            <li key={state.user_id}>
              <button
                type="button"
                class={`tile${isSpeaking ? ' is-speaking' : ''}`}
                aria-haspopup="menu"
                aria-label={[name, ...marks.map(({ label }) => label), ...(isSpeaking ? ['speaks'] : [])].join(', ')}
                onClick={(event) => showMenu(event, name, menu)}
                {...menuProps(name, menu)}
              >
                <Avatar id={state.user_id} name={name} size={isMany ? 40 : 56} isSpeaking={isSpeaking} />
                <span class="tile-name">
                  <Marks marks={marks} />
                  <Name guild={guild} id={state.user_id} />
                </span>
                <ModeratedLine marks={marks} />
              </button>
            </li>
          );
        })}
      </ul>
      {isIn ? (
        !isNarrow.value && (
          <div class="stage-actions">
            <HoldButton client={client} />
            <button type="button" class="button is-danger" onClick={() => client.leave()}>
              Leave
            </button>
          </div>
        )
      ) : (
        <button type="button" class="button is-primary" disabled={!mayConnect} onClick={() => client.join(guild.id, channel.id)}>
          {mayConnect ? 'Join voice' : 'You may not connect here'}
        </button>
      )}
    </section>
  );
}
