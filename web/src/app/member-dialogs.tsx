// What a member is called in a guild, and which roles they have.

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';

import type { Id, Role } from '../protocol/objects';
import { mayGiveRole, rolesOf } from '../session/roles';
import type { Client } from './client';
import { NICK_MAX } from './forms';
import { nameIn, userName } from './model';
import { attempt } from './notices';
import { Dialog, Field } from './parts';
import { OUT_OF_REACH } from './permission-words';
import { useSubmit } from './submit';
import { tint } from './tint';

interface MemberDialogProps {
  client: Client;
  guildId: Id;
  userId: Id;
  onClose: () => void;
}

export function NickDialog({ client, guildId, userId, onClose }: MemberDialogProps): JSX.Element {
  const { guilds, me } = client.store.value;
  const member = guilds[guildId]?.members[userId];
  const [nick, setNick] = useState(member?.nick ?? '');
  const isOwn = userId === me?.id;
  const account = member === undefined ? '' : userName(member.user);
  const { isBusy, error, submit } = useSubmit(() => client.rest.changeMember(guildId, isOwn ? '@me' : userId, { nick: nick.trim() || null }), onClose);
  return (
    <Dialog title={isOwn ? 'My nickname' : `Nickname of ${account}`} onClose={onClose}>
      <form onSubmit={submit}>
        <Field label={`Name in ${guilds[guildId]?.name ?? 'the guild'}`} error={error} hint={`Everybody there sees it. Without one it is ${account}.`}>
          {(attributes) => <input {...attributes} value={nick} onInput={(e) => setNick(e.currentTarget.value)} placeholder={account} maxLength={NICK_MAX} autocomplete="off" autofocus />}
        </Field>
        <button class="button is-primary is-wide" type="submit" disabled={isBusy}>Save</button>
      </form>
    </Dialog>
  );
}

/** Each box does what it says at once. */
export function MemberRolesDialog({ client, guildId, userId, onClose }: MemberDialogProps): JSX.Element {
  /** Asked for, and not answered yet. */
  const [wanted, setWanted] = useState<Readonly<Record<Id, boolean>>>({});
  const { guilds, me } = client.store.value;
  const guild = guilds[guildId];
  const held = new Set(guild?.members[userId]?.roles ?? []);
  const toggle = async ({ id }: Role, isOn: boolean) => {
    setWanted((others) => ({ ...others, [id]: isOn }));
    await attempt(isOn ? client.rest.giveRole(guildId, userId, id) : client.rest.takeRole(guildId, userId, id));
    setWanted(({ [id]: _, ...others }) => others);
  };
  return (
    <Dialog title={`Roles of ${nameIn(guild, userId)}`} onClose={onClose}>
      <fieldset class="choices">
        {guild !== undefined && rolesOf(guild).map((role) => {
          const mayGive = mayGiveRole(guild, me?.id ?? '', role, Date.now());
          const { class: kind, style } = tint(role.color);
          return (
            <label key={role.id} class="choice">
              <input type="checkbox" checked={wanted[role.id] ?? held.has(role.id)} disabled={!mayGive} onChange={(e) => void toggle(role, e.currentTarget.checked)} />
              <span><span class={kind} style={style}>{role.name}</span>{!mayGive && <small>{OUT_OF_REACH}</small>}</span>
            </label>
          );
        })}
      </fieldset>
      <button type="button" class="button is-wide" onClick={onClose}>Done</button>
    </Dialog>
  );
}
