// The messages of a channel, and where one writes new ones.

import type { JSX } from 'preact';
import { Fragment } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';

import { compareIds, type Channel, type Id, type Message } from '../protocol/objects';
import { Permission } from '../protocol/permissions';
import type { GuildState } from '../session/store';
import type { Client } from './client';
import { Icon } from './icons';
import { isVoice, may, nameIn } from './model';
import { MessageItem, dayOf } from './message';
import { notify, say, words } from './notices';
import { useFit, useRoving } from './parts';
import { markRead, seenIn } from './unread';

/** What comes from one person within this time stands below one name. */
const TOGETHER_MS = 7 * 60_000;
/** Further up than this one has left the newest message. */
const FAR_PX = 600;
/** How near the oldest known message the view must be for older ones to be fetched. */
const NEAR_PX = 400;
const TYPING_EVERY_MS = 8_000;
const LENGTH_MAX = 2_000;

export function Chat({ client, guild, channel }: { client: Client; guild: GuildState; channel: Channel }): JSX.Element {
  const me = client.store.value.me?.id ?? '';
  const history = client.store.value.histories[channel.id];
  const mayRead = may(guild, me, Permission.READ_MESSAGE_HISTORY, channel);
  const maySend = may(guild, me, Permission.SEND_MESSAGES, channel);
  const mayManage = may(guild, me, Permission.MANAGE_MESSAGES, channel);
  const [error, setError] = useState<string | null>(null);
  const [editing, setEditing] = useState<string | null>(null);
  const [isFar, setFar] = useState(false);
  const scroller = useRef<HTMLDivElement>(null);
  const isLoading = useRef(false);
  const isKnown = history !== undefined;

  const load = async () => {
    if (isLoading.current) return;
    isLoading.current = true;
    try {
      await client.loadHistory(channel.id);
      setError(null);
    } catch (reason) {
      setError(words(reason));
    }
    isLoading.current = false;
  };
  useEffect(() => {
    if (!isKnown && mayRead) void load();
  }, [channel.id, isKnown, mayRead]);

  const messages = history?.messages ?? [];
  const newest = messages.at(-1);
  const isNew = useSeen(channel.id, newest);
  useSpoken(newest, me, (message) => `${nameIn(guild, message.author.id, message.author, message.member?.nick)}: ${message.content}`);
  const list = useRoving<HTMLOListElement>('.message', '.is-newest');
  const firstNew = messages.find((message) => isNew(message.id) && message.author.id !== me);
  const editLast = () => setEditing(messages.findLast(({ author }) => author.id === me)?.id ?? null);
  return (
    <section class="chat" aria-label={`Messages in ${channel.name}`}>
      <div
        ref={scroller}
        class="scroller"
        onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
          setFar(-scrollTop > FAR_PX);
          // The newest is at the bottom, where scrolling begins; upwards counts below zero.
          if (history?.hasBeginning === false && scrollHeight - clientHeight + scrollTop < NEAR_PX) void load();
        }}
      >
        <div class="messages" role="log" aria-live="off">
          {history?.hasBeginning === true && (
            <div class="beginning">
              <h2>{isVoice(channel) ? channel.name : `#${channel.name}`}</h2>
              <p class="quiet">{channel.topic ?? (messages.length === 0 ? 'Nothing was written here yet.' : 'This is the beginning.')}</p>
            </div>
          )}
          {history?.hasBeginning === false && <button type="button" class="link" onClick={() => void load()}>Earlier messages</button>}
          {error !== null && <p class="form-error" role="alert">{error} <button type="button" class="link" onClick={() => void load()}>Try again</button></p>}
          {!mayRead && <p class="quiet">You may not read what was written here before.</p>}
          <ol {...list}>
            {messages.map((message, at) => {
              const before = messages[at - 1];
              const isOtherDay = before === undefined || dayOf(before.timestamp) !== dayOf(message.timestamp);
              return (
                <Fragment key={message.id}>
                  {isOtherDay && <li class="divider"><span>{dayOf(message.timestamp)}</span></li>}
                  {message === firstNew && <li class="divider is-new"><span>New</span></li>}
                  <MessageItem
                    client={client}
                    guild={guild}
                    message={message}
                    isFirst={isOtherDay || message === firstNew || !isTogether(before, message)}
                    isNewest={message === newest}
                    mayDelete={mayManage || message.author.id === me}
                    isEditing={editing === message.id}
                    setEditing={(on) => setEditing(on ? message.id : null)}
                  />
                </Fragment>
              );
            })}
          </ol>
        </div>
      </div>
      {isFar && (
        <button type="button" class="button to-newest" onClick={() => scroller.current?.scrollTo({ top: 0 })}>
          To the newest messages
        </button>
      )}
      <Composer key={channel.id} client={client} guild={guild} channel={channel} isAllowed={maySend} onEditLast={editLast} />
    </section>
  );
}

/** Notes what was read, while the page is looked at. Tells what was new when the channel was opened. */
function useSeen(channelId: Id, newest: Message | undefined): (message: Id) => boolean {
  const span = useRef<{ after: Id; until: Id } | null>(null);
  const newestId = newest?.id ?? null;
  if (newestId !== null) span.current ??= { after: seenIn(channelId), until: newestId };
  useEffect(() => {
    const look = () => {
      if (document.visibilityState === 'visible') markRead(channelId, newestId);
    };
    look();
    document.addEventListener('visibilitychange', look);
    return () => document.removeEventListener('visibilitychange', look);
  }, [channelId, newestId]);
  const { current } = span;
  return (message) => current !== null && compareIds(message, current.after) > 0 && compareIds(message, current.until) <= 0;
}

/** Reads new messages aloud for those who listen to the page; the history of a channel that is opened is not new. */
function useSpoken(newest: Message | undefined, me: Id, speech: (message: Message) => string): void {
  const last = useRef<Message | null | undefined>(null);
  useEffect(() => {
    const before = last.current;
    last.current = newest;
    const isNews = before !== null && before !== undefined && newest !== undefined && compareIds(newest.id, before.id) > 0;
    if (isNews && newest.author.id !== me) say(speech(newest));
  }, [newest?.id]);
}

function isTogether(before: Message | undefined, message: Message): boolean {
  if (before === undefined || before.author.id !== message.author.id) return false;
  return Date.parse(message.timestamp) - Date.parse(before.timestamp) < TOGETHER_MS;
}

/** What was written and not sent, by channel. */
const drafts = new Map<string, string>();

/** Whoever signs in next is somebody else. */
export function forgetDrafts(): void {
  drafts.clear();
}

function Composer({ client, guild, channel, isAllowed, onEditLast }: { client: Client; guild: GuildState; channel: Channel; isAllowed: boolean; onEditLast: () => void }): JSX.Element {
  const [text, setText] = useState(drafts.get(channel.id) ?? '');
  const typedAt = useRef(0);
  const field = useFit(text);
  const write = (value: string) => {
    drafts.set(channel.id, value);
    setText(value);
    if (value === '' || Date.now() - typedAt.current < TYPING_EVERY_MS) return;
    typedAt.current = Date.now();
    client.rest.typing(channel.id).catch(() => undefined);
  };
  const send = async () => {
    const content = text.trim();
    if (content === '') return;
    if (content.length > LENGTH_MAX) return notify('error', `A message may have ${LENGTH_MAX} characters; this one has ${content.length}.`);
    typedAt.current = 0;
    write('');
    typedAt.current = 0;
    // What did not arrive is given back, unless something else was written meanwhile.
    if (!(await client.send(channel.id, content)) && (drafts.get(channel.id) ?? '') === '') write(content);
  };
  const label = `Message ${isVoice(channel) ? '' : '#'}${channel.name}`;
  return (
    <form class="composer" onSubmit={(event) => { event.preventDefault(); void send(); field.current?.focus(); }}>
      <div class="composer-box">
        <textarea
          ref={field}
          rows={1}
          value={text}
          disabled={!isAllowed}
          aria-label={label}
          placeholder={isAllowed ? label : 'You may not write here'}
          onInput={(event) => write(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
              event.preventDefault();
              void send();
            }
            if (event.key === 'ArrowUp' && text === '') {
              event.preventDefault();
              onEditLast();
            }
          }}
        />
        <button type="submit" class="icon-button is-send" aria-label="Send" title="Send" disabled={!isAllowed || text.trim() === ''}>
          <Icon name="send" />
        </button>
      </div>
      <Typing client={client} guild={guild} channel={channel} />
    </form>
  );
}

function Typing({ client, guild, channel }: { client: Client; guild: GuildState; channel: Channel }): JSX.Element {
  const me = client.store.value.me?.id;
  const now = Date.now();
  const who = Object.entries(client.typing.until.value[channel.id] ?? {}).filter(([userId, until]) => until > now && userId !== me);
  const names = who.map(([userId]) => nameIn(guild, userId));
  const words = names.length === 0 ? '' : names.length > 3 ? 'Several people write…' : `${names.join(', ')} ${names.length === 1 ? 'writes' : 'write'}…`;
  return <div class="typing" aria-live="off">{words}</div>;
}
