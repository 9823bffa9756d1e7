// What somebody is called in a guild, in the colour of their highest role that has one.

import type { JSX } from 'preact';

import type { Id, MemberFields, User } from '../protocol/objects';
import { colorOf } from '../session/roles';
import type { GuildState } from '../session/store';
import { nameIn } from './model';
import { tint } from './tint';

/** `user` and `member` are what came along with a message, for people whom the guild's list does not have. */
export function Name({ guild, id, user, member }: { guild: GuildState; id: Id; user?: User; member?: MemberFields | undefined }): JSX.Element {
  const { class: kind, style } = tint(colorOf(guild, guild.members[id] ?? member));
  return <span class={`ellipsis ${kind}`} style={style}>{nameIn(guild, id, user, member?.nick)}</span>;
}
