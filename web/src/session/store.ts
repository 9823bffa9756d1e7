// What the client knows of the world: guilds with everything in them, and the messages it has seen. Every change makes new
// objects along its way and leaves the others as they are, so that who looks at a part sees whether it changed.

import type { Dispatch } from '../protocol/gateway';
import { compareIds, type Channel, type Guild, type GuildCreate, type Id, type Member, type Message, type Role, type User, type VoiceState } from '../protocol/objects';

export interface GuildState {
  id: Id;
  name: string;
  ownerId: Id;
  /** False while the server cannot say anything of it. */
  isAvailable: boolean;
  /** In a large guild not all members are known. */
  isLarge: boolean;
  memberCount: number;
  roles: Readonly<Record<Id, Role>>;
  channels: Readonly<Record<Id, Channel>>;
  members: Readonly<Record<Id, Member>>;
  /** Who is in voice, by user. */
  voice: Readonly<Record<Id, VoiceState>>;
  presences: Readonly<Record<Id, string>>;
}

export interface History {
  /** In the order of their making. */
  messages: readonly Message[];
  /** Whether the beginning of the channel is among them. */
  hasBeginning: boolean;
}

export interface Store {
  me: User | null;
  guilds: Readonly<Record<Id, GuildState>>;
  histories: Readonly<Record<Id, History>>;
}

export const EMPTY_STORE: Store = { me: null, guilds: {}, histories: {} };

/** More than anybody scrolls back in one sitting; the oldest go first. */
const HISTORY_MAX = 1_000;

export function applyEvent(store: Store, event: Dispatch): Store {
  switch (event.t) {
    case 'READY': {
      // A new session: whatever was known may have changed unseen.
      const guilds = event.d.guilds.map(({ id }) => ({ ...(store.guilds[id] ?? unavailable(id)), isAvailable: false }));
      return { me: event.d.user, guilds: byId(guilds), histories: {} };
    }
    case 'GUILD_CREATE':
      return { ...store, guilds: { ...store.guilds, [event.d.id]: created(event.d) } };
    case 'GUILD_UPDATE': {
      const { id, name, owner_id, roles } = event.d;
      return inGuild(store, id, () => ({ name, ownerId: owner_id, roles: byId(roles) }));
    }
    case 'GUILD_DELETE':
      if (event.d.unavailable === true) return inGuild(store, event.d.id, () => ({ isAvailable: false }));
      return { ...store, guilds: without(store.guilds, event.d.id) };
    case 'CHANNEL_CREATE':
    case 'CHANNEL_UPDATE':
      return inGuild(store, event.d.guild_id, ({ channels }) => ({ channels: { ...channels, [event.d.id]: event.d } }));
    case 'CHANNEL_DELETE': {
      const { id, guild_id } = event.d;
      const next = inGuild(store, guild_id, ({ channels }) => ({ channels: without(channels, id) }));
      return { ...next, histories: without(next.histories, id) };
    }
    case 'GUILD_ROLE_CREATE':
    case 'GUILD_ROLE_UPDATE':
      return inGuild(store, event.d.guild_id, ({ roles }) => ({ roles: { ...roles, [event.d.role.id]: event.d.role } }));
    case 'GUILD_ROLE_DELETE':
      return inGuild(store, event.d.guild_id, ({ roles }) => ({ roles: without(roles, event.d.role_id) }));
    case 'GUILD_MEMBER_ADD':
      return inGuild(store, event.d.guild_id, ({ members, memberCount }) => ({
        members: { ...members, [event.d.user.id]: event.d },
        memberCount: memberCount + 1,
      }));
    case 'GUILD_MEMBER_UPDATE':
      return inGuild(store, event.d.guild_id, ({ members }) => ({
        members: { ...members, [event.d.user.id]: { ...members[event.d.user.id], ...event.d } },
      }));
    case 'GUILD_MEMBER_REMOVE': {
      const { id } = event.d.user;
      return inGuild(store, event.d.guild_id, ({ members, presences, voice, memberCount }) => ({
        members: without(members, id),
        presences: without(presences, id),
        voice: without(voice, id),
        memberCount: Math.max(0, memberCount - 1),
      }));
    }
    case 'GUILD_MEMBERS_CHUNK':
      return inGuild(store, event.d.guild_id, ({ members }) => ({ members: { ...members, ...membersById(event.d.members) } }));
    case 'PRESENCE_UPDATE':
      return inGuild(store, event.d.guild_id, ({ presences }) => ({
        presences: { ...presences, [event.d.user.id]: event.d.status },
      }));
    case 'VOICE_STATE_UPDATE': {
      const { guild_id, user_id, channel_id, member } = event.d;
      return inGuild(store, guild_id, ({ voice, members }) => ({
        voice: channel_id === null ? without(voice, user_id) : { ...voice, [user_id]: event.d },
        members: member === undefined ? members : { ...members, [user_id]: member },
      }));
    }
    case 'MESSAGE_CREATE':
      return inHistory(withNewest(store, event.d), event.d.channel_id, ({ messages, hasBeginning }) => {
        const all = merge(messages, [event.d]);
        return { messages: all.slice(-HISTORY_MAX), hasBeginning: hasBeginning && all.length <= HISTORY_MAX };
      });
    case 'MESSAGE_UPDATE':
      return inHistory(store, event.d.channel_id, (history) => ({
        ...history,
        messages: history.messages.map((message) => (message.id === event.d.id ? { ...message, ...event.d } : message)),
      }));
    case 'MESSAGE_DELETE':
      return dropMessages(store, event.d.channel_id, [event.d.id]);
    case 'MESSAGE_DELETE_BULK':
      return dropMessages(store, event.d.channel_id, event.d.ids);
    default:
      return store;
  }
}

/** A page of a channel's history, as asked for from the server: the newest ones, or the ones before those known. */
export function addHistory(store: Store, channelId: Id, page: readonly Message[], isLast: boolean): Store {
  const known = store.histories[channelId] ?? { messages: [], hasBeginning: false };
  const history = { messages: merge(known.messages, page), hasBeginning: known.hasBeginning || isLast };
  return { ...store, histories: { ...store.histories, [channelId]: history } };
}

function merge(known: readonly Message[], more: readonly Message[]): readonly Message[] {
  const all = new Map(known.map((message) => [message.id, message]));
  for (const message of more) all.set(message.id, message);
  return [...all.values()].sort((a, b) => compareIds(a.id, b.id));
}

/** The channel knows its newest message, so that one can see whether it was read. */
function withNewest(store: Store, { id, channel_id, guild_id }: Message): Store {
  if (guild_id === undefined) return store;
  return inGuild(store, guild_id, ({ channels }) => {
    const channel = channels[channel_id];
    return channel === undefined ? {} : { channels: { ...channels, [channel_id]: { ...channel, last_message_id: id } } };
  });
}

function dropMessages(store: Store, channelId: Id, ids: readonly Id[]): Store {
  return inHistory(store, channelId, (history) => ({
    ...history,
    messages: history.messages.filter(({ id }) => !ids.includes(id)),
  }));
}

/** Channels that nobody looked at have no history here: it is asked for when somebody does. */
function inHistory(store: Store, channelId: Id, change: (history: History) => History): Store {
  const history = store.histories[channelId];
  if (history === undefined) return store;
  return { ...store, histories: { ...store.histories, [channelId]: change(history) } };
}

function inGuild(store: Store, id: Id, change: (guild: GuildState) => Partial<GuildState>): Store {
  const guild = store.guilds[id];
  if (guild === undefined) return store;
  return { ...store, guilds: { ...store.guilds, [id]: { ...guild, ...change(guild) } } };
}

function unavailable(id: Id): GuildState {
  const nothing = { roles: {}, channels: {}, members: {}, voice: {}, presences: {} };
  return { id, name: '', ownerId: '', isAvailable: false, isLarge: false, memberCount: 0, ...nothing };
}

function created(guild: Guild & GuildCreate): GuildState {
  return {
    id: guild.id,
    name: guild.name,
    ownerId: guild.owner_id,
    isAvailable: true,
    isLarge: guild.large,
    memberCount: guild.member_count,
    roles: byId(guild.roles),
    channels: byId(guild.channels),
    members: membersById(guild.members),
    voice: Object.fromEntries(guild.voice_states.map((state) => [state.user_id, state])),
    presences: Object.fromEntries(guild.presences.map(({ user, status }) => [user.id, status])),
  };
}

function byId<T extends { id: Id }>(list: readonly T[]): Record<Id, T> {
  return Object.fromEntries(list.map((item) => [item.id, item]));
}

function membersById(list: readonly Member[]): Record<Id, Member> {
  return Object.fromEntries(list.map((member) => [member.user.id, member]));
}

function without<T>(record: Readonly<Record<Id, T>>, id: Id): Readonly<Record<Id, T>> {
  if (!(id in record)) return record;
  const { [id]: _, ...rest } = record;
  return rest;
}
