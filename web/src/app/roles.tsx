// The roles of a guild, one below the other, and one of them with what it lets its members do.

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';

import type { Id, Role } from '../protocol/objects';
import { Permission } from '../protocol/permissions';
import { mayChangeRole, rolesOf } from '../session/roles';
import type { GuildState } from '../session/store';
import type { Client } from './client';
import { NAME_MAX, isChanged, roleChange, roleDraft, withPermission, type RoleDraft } from './forms';
import { Icon } from './icons';
import { may } from './model';
import { Dialog, Field, useRoving } from './parts';
import { OUT_OF_REACH, PERMISSIONS } from './permission-words';
import { useSubmit } from './submit';
import { fromHex, hex, tint } from './tint';

const EVERYBODY = 'Everybody';
const NEW: RoleDraft = { name: '', color: 0, hoist: false, permissions: 0n };
/** Where choosing a colour begins. */
const FIRST_COLOR = 0x3b82f6;

export interface RolesProps {
  client: Client;
  guildId: Id;
  /** The role that was looked at last: where the list begins, unless it is gone. */
  from: Id | null;
  /** Null makes one. */
  onOpen: (roleId: Id | null) => void;
  onClose: () => void;
}

export function RolesDialog({ client, guildId, from, onOpen, onClose }: RolesProps): JSX.Element {
  const guild = client.store.value.guilds[guildId];
  const list = useRoving<HTMLUListElement>('.role:enabled', '[autofocus]');
  const everybody = guild?.roles[guildId];
  const roles = guild === undefined || everybody === undefined ? [] : [...rolesOf(guild), everybody];
  const me = client.store.value.me?.id ?? '';
  const mayManage = guild !== undefined && may(guild, me, Permission.MANAGE_ROLES);
  const open = roles.filter((role) => guild !== undefined && mayChangeRole(guild, me, role, Date.now()));
  const first = (open.find(({ id }) => id === from) ?? open[0])?.id;
  return (
    <Dialog title="Roles" onClose={onClose}>
      <p class="quiet roles-hint">Older roles stand above newer ones. A member may do what any of their roles allows, and what everybody may.</p>
      <p class="form-error" role="alert">{mayManage ? '' : 'You may no longer manage roles.'}</p>
      {mayManage && (
        <ul class="roles" {...list}>
          {roles.map((role) => <RoleItem key={role.id} client={client} guild={guild} role={role} isFirst={role.id === first} onOpen={() => onOpen(role.id)} />)}
        </ul>
      )}
      {mayManage && <button type="button" class="button is-primary is-wide" onClick={() => onOpen(null)}>Create a role</button>}
    </Dialog>
  );
}

function RoleItem({ client, guild, role, isFirst, onOpen }: { client: Client; guild: GuildState; role: Role; isFirst: boolean; onOpen: () => void }): JSX.Element {
  const isEverybody = role.id === guild.id;
  const mayChange = mayChangeRole(guild, client.store.value.me?.id ?? '', role, Date.now());
  const { class: kind, style } = tint(role.color);
  const words = !mayChange ? OUT_OF_REACH : isEverybody ? 'what all may do' : holderWords(guild, role);
  return (
    <li>
      <button type="button" class="role" disabled={!mayChange} autofocus={isFirst} onClick={onOpen}>
        <span class={`role-dot ${kind}`} style={style} aria-hidden="true" />
        <span class={`ellipsis ${kind}`} style={style}>{isEverybody ? EVERYBODY : role.name}</span>
        <small class="quiet">{words}</small>
        {mayChange && <Icon name="edit" size={16} />}
      </button>
    </li>
  );
}

/** In a large guild not all members are known, and who is not cannot be counted. */
function holderWords(guild: GuildState, role: Role): string {
  if (guild.isLarge) return '';
  const count = Object.values(guild.members).filter(({ roles }) => roles.includes(role.id)).length;
  return count === 1 ? '1 member' : `${count} members`;
}

export interface RoleDialogProps {
  client: Client;
  guildId: Id;
  roleId: Id | null;
  onDelete: (role: Role) => void;
  onClose: () => void;
}

export function RoleDialog({ client, guildId, roleId, onDelete, onClose }: RoleDialogProps): JSX.Element {
  const guild = client.store.value.guilds[guildId];
  const known = roleId === null ? undefined : guild?.roles[roleId];
  // What was changed is told from what was there when the dialog was opened.
  const [before] = useState(known);
  const [draft, setDraft] = useState(before === undefined ? NEW : roleDraft(before));
  const set = (part: Partial<RoleDraft>) => setDraft({ ...draft, ...part });
  const { isBusy, fields, general, submit } = useSubmit(async () => {
    if (before === undefined) return void (await client.rest.createRole(guildId, { ...draft, name: draft.name.trim(), permissions: String(draft.permissions) }));
    const change = roleChange(before, draft);
    if (isChanged(change)) await client.rest.changeRole(guildId, before.id, change);
  }, onClose);
  const isEverybody = roleId === guildId;
  if (guild === undefined || (roleId !== null && known === undefined)) {
    return <Dialog title="Roles" onClose={onClose}><p>That role is gone.</p></Dialog>;
  }
  return (
    <Dialog title={isEverybody ? EVERYBODY : (known?.name ?? 'Create a role')} onClose={onClose} kind="is-large">
      <form onSubmit={submit}>
        {!isEverybody && <LooksFields draft={draft} set={set} fields={fields} />}
        <PermissionBoxes client={client} guild={guild} draft={draft} onChange={setDraft} />
        <div class="buttons is-sticky">
          <p class="form-error" role="alert">{general ?? fields['permissions']}</p>
          {known !== undefined && !isEverybody && <button class="button is-danger is-apart" type="button" onClick={() => onDelete(known)}>Delete</button>}
          <button class="button" type="button" onClick={onClose}>Back</button>
          <button class="button is-primary" type="submit" disabled={isBusy}>{known === undefined ? 'Create' : 'Save'}</button>
        </div>
      </form>
    </Dialog>
  );
}

function LooksFields({ draft, set, fields }: { draft: RoleDraft; set: (part: Partial<RoleDraft>) => void; fields: Readonly<Record<string, string>> }): JSX.Element {
  const { class: kind, style } = tint(draft.color);
  return (
    <>
      <Field label="Name" error={fields['name']}>
        {(attributes) => <input {...attributes} value={draft.name} onInput={(e) => set({ name: e.currentTarget.value })} required maxLength={NAME_MAX} autocomplete="off" autofocus />}
      </Field>
      <fieldset class="choices">
        <legend>Looks</legend>
        <div class="choice">
          <label class="choice-inside">
            <input type="checkbox" checked={draft.color !== 0} onChange={(e) => set({ color: e.currentTarget.checked ? FIRST_COLOR : 0 })} />
            <span class={kind} style={style}>The names of its members have a colour</span>
          </label>
          {draft.color !== 0 && <input type="color" class="swatch" aria-label="Colour" value={hex(draft.color)} onInput={(e) => set({ color: fromHex(e.currentTarget.value) })} />}
        </div>
        <label class="choice">
          <input type="checkbox" checked={draft.hoist} onChange={(e) => set({ hoist: e.currentTarget.checked })} />
          <span>Its members stand apart in the list</span>
        </label>
        {fields['color'] !== undefined && <p class="field-error" role="alert">{fields['color']}</p>}
      </fieldset>
    </>
  );
}

/** One can grant and take only what one may do oneself. */
function PermissionBoxes({ client, guild, draft, onChange }: { client: Client; guild: GuildState; draft: RoleDraft; onChange: (draft: RoleDraft) => void }): JSX.Element {
  const me = client.store.value.me?.id ?? '';
  return (
    <>
      {PERMISSIONS.map(({ title, permissions }) => (
        <fieldset key={title} class="choices is-row">
          <legend>{title}</legend>
          {permissions.map(([permission, words, hint]) => {
            const mayToggle = may(guild, me, permission);
            const note = mayToggle ? hint : 'You lack it yourself.';
            return (
              <label key={words} class="choice">
                <input type="checkbox" checked={(draft.permissions & permission) !== 0n} disabled={!mayToggle} onChange={(e) => onChange(withPermission(draft, permission, e.currentTarget.checked))} />
                <span>{words}{note !== undefined && <small>{note}</small>}</span>
              </label>
            );
          })}
        </fieldset>
      ))}
    </>
  );
}
