// REST requests to the server this page came from.

import type { Ban, Channel, Guild, Id, Invite, Message, Region, Role, User } from '../protocol/objects';
import type { ChannelChange, RoleChange } from './forms';

const BASE = new URL('api/v10', document.baseURI).href;
/** Waiting longer than this for a permission to ask again is not waiting but hanging. */
const RETRY_AFTER_MAX_S = 5;

interface FieldError {
  code?: string;
  message?: string;
}

interface ErrorBody {
  code?: number;
  message?: string;
  errors?: Record<string, { _errors?: FieldError[] }>;
  retry_after?: number;
}

/** A refusal, in words for people. */
export class RestError extends Error {
  readonly status: number;
  readonly code: number;
  /** For each wrong field of a form, what is wrong with it. */
  readonly fields: Readonly<Record<string, string>>;

  constructor(status: number, body: ErrorBody) {
    const fields: Record<string, string> = {};
    for (const [field, { _errors }] of Object.entries(body.errors ?? {})) fields[field] = fieldSentence(_errors?.[0]);
    super(sentence(status, body, fields));
    this.status = status;
    this.code = body.code ?? 0;
    this.fields = fields;
  }
}

const SENTENCES: Record<number, string> = {
  10003: 'That channel is gone.',
  10004: 'That guild is gone.',
  10006: 'That invite is not valid, or it has expired. Ask for a new one.',
  10007: 'That person is no longer a member.',
  10008: 'That message is gone.',
  10011: 'That role is gone.',
  30001: 'You are in as many guilds as the server allows. Leave one first.',
  30005: 'This guild has as many roles as it may have. Delete one first.',
  30013: 'This guild has as many channels as it may have. Delete one first.',
  40007: 'You are banned from this guild.',
  40032: 'That person is not in a voice channel any more.',
  50001: 'You cannot see that. Ask somebody who runs the guild.',
  50013: 'You lack the permission to do that. Ask somebody who runs the guild.',
};

/** Where the server's own words are for those who write programs. */
const FIELD_SENTENCES: Record<string, string> = {
  INVALID_LOGIN: 'Name or password is wrong.',
  USERNAME_ALREADY_TAKEN: 'Somebody has that name already. Choose another one.',
  USERNAME_INVALID_CHARACTERS: 'A name has letters from a to z, digits, underscores, dots and dashes only.',
};

function fieldSentence(error: FieldError | undefined): string {
  return FIELD_SENTENCES[error?.code ?? ''] ?? error?.message ?? 'This is not valid.';
}

/** No answer at all, or a proxy's, which had none. */
const UNREACHABLE: ReadonlySet<number> = new Set([0, 502, 503, 504]);

function sentence(status: number, body: ErrorBody, fields: Record<string, string>): string {
  const known = SENTENCES[body.code ?? 0];
  if (known !== undefined) return known;
  const first = Object.values(fields)[0];
  if (first !== undefined) return first;
  if (UNREACHABLE.has(status)) return 'The server cannot be reached. Check your connection and try again.';
  if (status === 401) return 'You are signed out. Sign in again.';
  if (status === 429) return 'Too fast. Wait a moment and try again.';
  if (status >= 500) return 'The server failed to do that. Try again in a moment.';
  return body.message ?? `The server refused (${status}).`;
}

export interface Session {
  user_id: Id;
  token: string;
  user: User;
}

export interface MemberChange {
  mute?: boolean;
  deaf?: boolean;
  channel_id?: Id | null;
  nick?: string | null;
}

type Method = 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';

export class Rest {
  readonly #token: string | null;

  constructor(token: string | null) {
    this.#token = token;
  }

  async #call<T>(method: Method, path: string, body?: unknown, isSecond = false): Promise<T> {
    const headers: Record<string, string> = {};
    if (this.#token !== null) headers['authorization'] = this.#token;
    if (body !== undefined) headers['content-type'] = 'application/json';
    const init: RequestInit = { method, headers, cache: 'no-store' };
    if (body !== undefined) init.body = JSON.stringify(body);
    const response = await fetch(BASE + path, init).catch(() => null);
    if (response === null) throw new RestError(0, {});
    const text = await response.text();
    let value: unknown = null;
    try {
      value = text === '' ? null : JSON.parse(text);
    } catch {
      // A proxy's page: the status has to do.
    }
    if (response.ok) return value as T;
    const error = (value ?? {}) as ErrorBody;
    if (response.status === 429 && !isSecond && (error.retry_after ?? Infinity) <= RETRY_AFTER_MAX_S) {
      await new Promise((resolve) => setTimeout(resolve, (error.retry_after ?? 1) * 1_000));
      return this.#call(method, path, body, true);
    }
    throw new RestError(response.status, error);
  }

  register = (username: string, password: string, invite: string | null): Promise<Session> =>
    this.#call('POST', '/auth/register', { username, password, invite });
  login = (login: string, password: string): Promise<Session> => this.#call('POST', '/auth/login', { login, password });
  logout = (): Promise<void> => this.#call('POST', '/auth/logout');

  createGuild = (name: string): Promise<Guild> => this.#call('POST', '/guilds', { name });
  leaveGuild = (guild: Id): Promise<void> => this.#call('DELETE', `/users/@me/guilds/${guild}`);
  deleteGuild = (guild: Id): Promise<void> => this.#call('DELETE', `/guilds/${guild}`);

  createChannel = (guild: Id, body: { name: string; type: number; parent_id: Id | null }): Promise<Channel> =>
    this.#call('POST', `/guilds/${guild}/channels`, body);
  changeChannel = (channel: Id, change: ChannelChange): Promise<Channel> => this.#call('PATCH', `/channels/${channel}`, change);
  regions = (guild: Id): Promise<Region[]> => this.#call('GET', `/guilds/${guild}/regions`);
  deleteChannel = (channel: Id): Promise<void> => this.#call('DELETE', `/channels/${channel}`);

  invite = (code: string): Promise<Invite> => this.#call('GET', `/invites/${encodeURIComponent(code)}`);
  acceptInvite = (code: string): Promise<Invite> => this.#call('POST', `/invites/${encodeURIComponent(code)}`, {});
  createInvite = (channel: Id, maxAgeS: number): Promise<Invite> =>
    this.#call('POST', `/channels/${channel}/invites`, { max_age: maxAgeS });

  messages = (channel: Id, before: Id | null, limit: number): Promise<Message[]> =>
    this.#call('GET', `/channels/${channel}/messages?limit=${limit}${before === null ? '' : `&before=${before}`}`);
  send = (channel: Id, content: string, nonce: string): Promise<Message> =>
    this.#call('POST', `/channels/${channel}/messages`, { content, nonce });
  edit = (channel: Id, message: Id, content: string): Promise<Message> =>
    this.#call('PATCH', `/channels/${channel}/messages/${message}`, { content });
  remove = (channel: Id, message: Id): Promise<void> => this.#call('DELETE', `/channels/${channel}/messages/${message}`);
  typing = (channel: Id): Promise<void> => this.#call('POST', `/channels/${channel}/typing`);

  changeMember = (guild: Id, user: Id, change: MemberChange): Promise<unknown> =>
    this.#call('PATCH', `/guilds/${guild}/members/${user}`, change);
  createRole = (guild: Id, body: RoleChange): Promise<Role> => this.#call('POST', `/guilds/${guild}/roles`, body);
  changeRole = (guild: Id, role: Id, change: RoleChange): Promise<Role> => this.#call('PATCH', `/guilds/${guild}/roles/${role}`, change);
  deleteRole = (guild: Id, role: Id): Promise<void> => this.#call('DELETE', `/guilds/${guild}/roles/${role}`);
  giveRole = (guild: Id, user: Id, role: Id): Promise<void> => this.#call('PUT', `/guilds/${guild}/members/${user}/roles/${role}`);
  takeRole = (guild: Id, user: Id, role: Id): Promise<void> => this.#call('DELETE', `/guilds/${guild}/members/${user}/roles/${role}`);
  renameGuild = (guild: Id, name: string): Promise<Guild> => this.#call('PATCH', `/guilds/${guild}`, { name });
  bans = (guild: Id): Promise<Ban[]> => this.#call('GET', `/guilds/${guild}/bans`);
  ban = (guild: Id, user: Id): Promise<void> => this.#call('PUT', `/guilds/${guild}/bans/${user}`, {});
  unban = (guild: Id, user: Id): Promise<void> => this.#call('DELETE', `/guilds/${guild}/bans/${user}`);
  kick = (guild: Id, user: Id): Promise<void> => this.#call('DELETE', `/guilds/${guild}/members/${user}`);
}
