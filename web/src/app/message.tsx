// One message: who, when, what; editing and deleting where allowed.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';

import type { Message } from '../protocol/objects';
import type { GuildState } from '../session/store';
import type { Client } from './client';
import { dialog } from './dialogs';
import { readMarkup, type Part } from './markup';
import { MenuItem, menuProps, showMenu } from './menu';
import { nameIn } from './model';
import { Name } from './name';
import { attempt } from './notices';
import { Avatar, IconButton, useFit } from './parts';
import { PersonMenu } from './person-menu';

export interface MessageProps {
  client: Client;
  guild: GuildState;
  message: Message;
  /** Whether it stands below a name of its own. */
  isFirst: boolean;
  isNewest: boolean;
  mayDelete: boolean;
  isEditing: boolean;
  setEditing: (on: boolean) => void;
}

export function MessageItem({ client, guild, message, isFirst, isNewest, mayDelete, isEditing, setEditing }: MessageProps): JSX.Element {
  const { author } = message;
  const name = nameIn(guild, author.id, author, message.member?.nick);
  const isOwn = author.id === client.store.value.me?.id;
  const remove = () => {
    const text = message.content.length > 200 ? `${message.content.slice(0, 200)}…` : message.content;
    dialog.value = { is: 'confirm', title: 'Delete this message?', text, action: 'Delete', do: () => client.rest.remove(message.channel_id, message.id) };
  };
  const menu = () => (
    <>
      <MenuItem onClick={() => void navigator.clipboard?.writeText(message.content).catch(() => undefined)}>Copy the text</MenuItem>
      {isOwn && <MenuItem onClick={() => setEditing(true)}>Edit</MenuItem>}
      {mayDelete && <MenuItem kind="is-danger" onClick={remove}>Delete</MenuItem>}
    </>
  );
  const personMenu = () => <PersonMenu client={client} guildId={guild.id} userId={author.id} />;
  return (
    <li
      class={`message${isFirst ? ' is-first' : ''}${isNewest ? ' is-newest' : ''}`}
      aria-label={`${name}, ${when(message.timestamp)}: ${message.content}`}
      {...menuProps('Message', menu)}
      onKeyDown={(event) => event.key === 'Enter' && event.target === event.currentTarget && showMenu(event, 'Message', menu)}
    >
      {isFirst ? (
        <>
          <Avatar id={author.id} name={name} size={40} />
          <div class="message-head">
            <strong {...menuProps(name, personMenu)}><Name guild={guild} id={author.id} user={author} member={message.member} /></strong>
            {author.bot && <span class="tag">bot</span>}
            <time dateTime={message.timestamp} title={new Date(message.timestamp).toLocaleString()}>{when(message.timestamp)}</time>
          </div>
        </>
      ) : (
        <time class="message-time" dateTime={message.timestamp}>{hour(message.timestamp)}</time>
      )}
      {isEditing ? (
        <Edit client={client} message={message} onDone={() => setEditing(false)} onEmpty={remove} />
      ) : (
        <div class="message-text">
          {drawn(readMarkup(message.content), message, guild)}
          {message.edited_timestamp !== null && <small class="quiet" title={new Date(message.edited_timestamp).toLocaleString()}> (edited)</small>}
        </div>
      )}
      {!isEditing && (isOwn || mayDelete) && (
        <span class="message-actions">
          {isOwn && <IconButton icon="edit" size={16} label="Edit" isSkipped onClick={() => setEditing(true)} />}
          {mayDelete && <IconButton icon="trash" size={16} label="Delete" kind="is-danger" isSkipped onClick={remove} />}
        </span>
      )}
    </li>
  );
}

function Edit({ client, message, onDone, onEmpty }: { client: Client; message: Message; onDone: () => void; onEmpty: () => void }): JSX.Element {
  const [text, setText] = useState(message.content);
  const field = useFit(text);
  useEffect(() => {
    field.current?.focus();
    field.current?.setSelectionRange(text.length, text.length);
  }, []);
  const save = async () => {
    const changed = text.trim();
    if (changed === '') return onEmpty();
    if (changed === message.content || (await attempt(client.rest.edit(message.channel_id, message.id, changed)))) onDone();
  };
  return (
    <div class="message-edit">
      <textarea
        ref={field}
        rows={1}
        value={text}
        aria-label="Edit the message"
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === 'Escape') onDone();
          if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            void save();
          }
        }}
      />
      <small class="quiet">
        Escape to <button type="button" class="link" onClick={onDone}>cancel</button>, Enter to <button type="button" class="link" onClick={() => void save()}>save</button>
      </small>
    </div>
  );
}

/** Nothing of what was written is ever read as HTML. */
function drawn(parts: Part[], message: Message, guild: GuildState): (string | JSX.Element)[] {
  return parts.map((part) => {
    if (typeof part === 'string') return part;
    switch (part.is) {
      case 'block':
        return <pre class="code" tabIndex={0}><code>{part.text}</code></pre>;
      case 'code':
        return <code class="code">{part.text}</code>;
      case 'link':
        return <a href={part.text} target="_blank" rel="noopener noreferrer">{part.text}</a>;
      case 'mention':
        return <span class="mention">@{nameIn(guild, part.userId, message.mentions.find(({ id }) => id === part.userId))}</span>;
      case 'bold':
        return <strong>{drawn(part.parts, message, guild)}</strong>;
      case 'italic':
        return <em>{drawn(part.parts, message, guild)}</em>;
      case 'strike':
        return <s>{drawn(part.parts, message, guild)}</s>;
    }
  });
}

function hour(timestamp: string): string {
  return new Date(timestamp).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
}

export function dayOf(timestamp: string): string {
  return new Date(timestamp).toLocaleDateString([], { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
}

function when(timestamp: string): string {
  const then = new Date(timestamp);
  const isToday = then.toDateString() === new Date().toDateString();
  return isToday ? hour(timestamp) : `${then.toLocaleDateString()} ${hour(timestamp)}`;
}
