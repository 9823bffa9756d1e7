// The page of somebody who is signed in.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';

import { Channels } from './channels';
import { Chat } from './chat';
import type { Client } from './client';
import { Dialogs, dialog } from './dialogs';
import { Icon } from './icons';
import { InvitePage } from './invite-page';
import { listenToKeys } from './keys';
import { Members } from './members';
import { MenuHost } from './menu';
import { firstChannel, hasNews, isVoice } from './model';
import { IconButton } from './parts';
import { Rail } from './rail';
import { formatRoute, go, route } from './route';
import { drawer, memberList } from './shell-state';
import { Stage } from './stage';
import { CallBar, VoicePanel } from './voice-panel';

export function Shell({ client, onSignOut }: { client: Client; onSignOut: () => void }): JSX.Element {
  useEffect(() => listenToKeys(client), [client]);
  const store = client.store.value;
  const at = route.value;
  const guild = at.at === 'guild' ? store.guilds[at.guildId] : undefined;
  const channel = guild === undefined || at.at !== 'guild' || at.channelId === null ? undefined : guild.channels[at.channelId];

  // A guild without a channel opens at its first one.
  const isReady = guild?.isAvailable === true && store.me !== null;
  useEffect(() => {
    if (!isReady || guild === undefined || channel !== undefined || store.me === null) return;
    // On the way elsewhere, which this page is about to be told.
    if (location.hash !== formatRoute(at)) return;
    const first = firstChannel(guild, store.me.id);
    if (first !== null) go({ at: 'guild', guildId: guild.id, channelId: first.id });
  }, [guild?.id, isReady, channel === undefined]);

  // The only guild there is needs no choosing.
  const only = Object.keys(store.guilds).length === 1 ? Object.keys(store.guilds)[0] : undefined;
  useEffect(() => {
    if (at.at === 'home' && only !== undefined) go({ at: 'guild', guildId: only, channelId: null });
  }, [at.at, only]);

  const me = store.me?.id ?? '';
  const isNews = Object.values(store.guilds).some((other) => hasNews(other, me));
  const place = [channel?.name, guild?.name, 'Guildhall'].filter(Boolean).join(' · ');
  useEffect(() => {
    document.title = `${isNews ? '• ' : ''}${place}`;
  }, [isNews, place]);

  if (at.at === 'invite') return <InvitePage client={client} code={at.code} />;
  const showsMembers = memberList.value && guild?.isAvailable === true;
  return (
    <div class={`shell${drawer.value ? ' has-drawer' : ''}${showsMembers ? ' has-members' : ''}`}>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById('main')?.focus(); }}>To the messages</a>
      <div class="side" id="side">
        <Rail client={client} />
        <div class="side-column">
          {guild?.isAvailable === true ? <Channels client={client} guild={guild} /> : <header class="side-head"><h2 class="side-title">Guildhall</h2></header>}
          <VoicePanel client={client} onSignOut={onSignOut} />
        </div>
      </div>
      <div class="curtain" onClick={() => (drawer.value = false)} />
      <main id="main" tabIndex={-1}>
        <Connection client={client} />
        <header class="main-head">
          <button type="button" class="icon-button only-narrow" aria-label="Guilds and channels" aria-expanded={drawer.value} aria-controls="side" onClick={() => (drawer.value = !drawer.value)}>
            <Icon name="menu" />
          </button>
          {channel !== undefined && <Icon name={isVoice(channel) ? 'speaker' : 'hash'} />}
          <h1 class="ellipsis">{channel?.name ?? guild?.name ?? 'Guildhall'}</h1>
          {channel?.topic != null && <span class="topic ellipsis" title={channel.topic}>{channel.topic}</span>}
          <span class="spacer" />
          {guild?.isAvailable === true && (
            <IconButton icon="people" label={memberList.value ? 'Hide the members' : 'Show the members'} isPressed={memberList.value} onClick={() => (memberList.value = !memberList.value)} />
          )}
        </header>
        <CallBar client={client} />
        {guild !== undefined && channel !== undefined ? (
          <>
            {isVoice(channel) && <Stage client={client} guild={guild} channel={channel} />}
            <Chat key={channel.id} client={client} guild={guild} channel={channel} />
          </>
        ) : (
          <Empty client={client} hasGuild={guild !== undefined} isAvailable={guild?.isAvailable ?? true} />
        )}
      </main>
      {showsMembers && guild !== undefined && <Members client={client} guild={guild} />}
      <Dialogs client={client} />
      <MenuHost />
    </div>
  );
}

/** How long the server may be away before it is worth a word. */
const GAP_MS = 1_000;

/** Says so while the server cannot be heard. Short gaps are nobody's business. */
function Connection({ client }: { client: Client }): JSX.Element | null {
  const isAway = client.phase.value !== 'ready' && client.store.value.me !== null;
  const [isLong, setLong] = useState(false);
  useEffect(() => {
    setLong(false);
    if (!isAway) return;
    const timer = setTimeout(() => setLong(true), GAP_MS);
    return () => clearTimeout(timer);
  }, [isAway]);
  return isAway && isLong ? <div class="banner" role="status">Reconnecting to the server…</div> : null;
}

function Empty({ client, hasGuild, isAvailable }: { client: Client; hasGuild: boolean; isAvailable: boolean }): JSX.Element {
  if (client.store.value.me === null) {
    return <div class="empty"><p class="quiet" role="status">{client.isUnreachable.value ? 'The server cannot be reached. Trying again…' : 'Connecting…'}</p></div>;
  }
  if (!isAvailable) return <div class="empty"><p class="quiet">This guild is not available right now. It comes back by itself.</p></div>;
  if (hasGuild) return <div class="empty"><p class="quiet">There is no channel here that you may see.</p></div>;
  const hasAny = Object.keys(client.store.value.guilds).length > 0;
  return (
    <div class="empty">
      <h2>{hasAny ? 'Choose a guild' : 'Welcome'}</h2>
      <p class="quiet">{hasAny ? 'They are at the left side.' : 'A guild is a place for people who talk together. Join one by an invite, or create your own.'}</p>
      <button type="button" class="button is-primary" onClick={() => (dialog.value = { is: 'guild' })}>Add a guild</button>
    </div>
  );
}
