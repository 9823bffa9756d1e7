// The dialogs that make and join things.

import { signal } from '@preact/signals';
import { useEffect, useState } from 'preact/hooks';
import type { JSX } from 'preact';

import { ChannelType, type Ban, type Channel, type Id, type Invite, type Role } from '../protocol/objects';
import { ChannelSettings } from './channel-settings';
import type { Client } from './client';
import { MemberRolesDialog, NickDialog } from './member-dialogs';
import { userName } from './model';
import { attempt, notify, words } from './notices';
import { Avatar, Dialog, Field } from './parts';
import { go, inviteCode, inviteLink } from './route';
import { RoleDialog, RolesDialog } from './roles';
import { Settings } from './settings-page';
import { useSubmit } from './submit';

export type DialogName =
  | { is: 'guild' }
  | { is: 'channel'; guildId: Id; parentId: Id | null; type: number }
  | { is: 'channel settings'; channel: Channel }
  | { is: 'rename'; guildId: Id; name: string }
  | { is: 'nick' | 'member roles'; guildId: Id; userId: Id }
  | { is: 'roles'; guildId: Id; from: Id | null }
  | { is: 'role'; guildId: Id; roleId: Id | null }
  | { is: 'bans'; guildId: Id }
  | { is: 'invite'; channelId: Id }
  | { is: 'confirm'; title: string; text: string; action: string; do: () => Promise<unknown>; next?: DialogName }
  | { is: 'settings' };

export const dialog = signal<DialogName | null>(null);
const close = () => (dialog.value = null);

export function Dialogs({ client }: { client: Client }): JSX.Element | null {
  const open = dialog.value;
  switch (open?.is) {
    case 'guild':
      return <GuildDialog client={client} />;
    case 'channel':
      return <ChannelDialog client={client} {...open} />;
    case 'channel settings':
      return <ChannelSettings client={client} channel={open.channel} onClose={close} />;
    case 'nick':
      return <NickDialog client={client} {...open} onClose={close} />;
    case 'member roles':
      return <MemberRolesDialog client={client} {...open} onClose={close} />;
    case 'roles':
      return <RolesDialog client={client} {...open} onOpen={(roleId) => (dialog.value = { is: 'role', guildId: open.guildId, roleId })} onClose={close} />;
    case 'role':
      return <RoleDialog client={client} {...open} onDelete={(role) => confirmRoleDelete(client, open.guildId, role)} onClose={() => backToRoles(open.guildId, open.roleId)} />;
    case 'rename':
      return <RenameDialog client={client} {...open} />;
    case 'invite':
      return <InviteDialog client={client} channelId={open.channelId} />;
    case 'bans':
      return <BansDialog client={client} guildId={open.guildId} />;
    case 'confirm':
      return <ConfirmDialog {...open} />;
    case 'settings':
      return <Settings client={client} onClose={close} />;
    default:
      return null;
  }
}

function backToRoles(guildId: Id, from: Id | null): void {
  dialog.value = { is: 'roles', guildId, from };
}

function confirmRoleDelete(client: Client, guildId: Id, role: Role): void {
  dialog.value = {
    is: 'confirm',
    title: `Delete the role ${role.name}?`,
    text: 'Its members lose it, and what it allowed them.',
    action: 'Delete',
    do: () => client.rest.deleteRole(guildId, role.id),
    next: { is: 'roles', guildId, from: role.id },
  };
}

function GuildDialog({ client }: { client: Client }): JSX.Element {
  const [name, setName] = useState('');
  const [link, setLink] = useState('');
  const create = useSubmit(async () => {
    const guild = await client.rest.createGuild(name.trim());
    go({ at: 'guild', guildId: guild.id, channelId: null });
  }, close);
  const join = useSubmit(async () => {
    const { guild, channel } = await client.rest.acceptInvite(inviteCode(link));
    go({ at: 'guild', guildId: guild.id, channelId: channel.type === ChannelType.TEXT ? channel.id : null });
  }, close);
  return (
    <Dialog title="Add a guild" onClose={close}>
      <form onSubmit={join.submit}>
        <Field label="Join with an invite" error={join.error} hint="A link, or the code at its end.">
          {(attributes) => <input {...attributes} value={link} onInput={(e) => setLink(e.currentTarget.value)} required autocomplete="off" spellcheck={false} autofocus />}
        </Field>
        <button class="button is-primary is-wide" type="submit" disabled={join.isBusy}>Join</button>
      </form>
      <div class="or">or</div>
      <form onSubmit={create.submit}>
        <Field label="Create your own" error={create.error} hint="You can invite others right after.">
          {(attributes) => <input {...attributes} value={name} onInput={(e) => setName(e.currentTarget.value)} placeholder="Its name" required minLength={2} maxLength={100} autocomplete="off" />}
        </Field>
        <button class="button is-wide" type="submit" disabled={create.isBusy}>Create</button>
      </form>
    </Dialog>
  );
}

const KINDS: [number, string, string][] = [
  [ChannelType.TEXT, 'Text', 'To write in.'],
  [ChannelType.VOICE, 'Voice', 'To talk in.'],
  [ChannelType.CATEGORY, 'Category', 'To put channels under.'],
];

function ChannelDialog({ client, guildId, parentId, type: first }: { client: Client; guildId: Id; parentId: Id | null; type: number }): JSX.Element {
  const [name, setName] = useState('');
  const [type, setType] = useState(first);
  const { isBusy, error, submit } = useSubmit(async () => {
    const parent_id = type === ChannelType.CATEGORY ? null : parentId;
    const channel = await client.rest.createChannel(guildId, { name: name.trim(), type, parent_id });
    if (type === ChannelType.TEXT) go({ at: 'guild', guildId, channelId: channel.id });
  }, close);
  return (
    <Dialog title="Create a channel" onClose={close}>
      <form onSubmit={submit}>
        <fieldset class="choices">
          <legend>Kind</legend>
          {KINDS.map(([value, label, hint]) => (
            <label key={value} class="choice">
              <input type="radio" name="kind" checked={type === value} onChange={() => setType(value)} />
              <span>{label}<small>{hint}</small></span>
            </label>
          ))}
        </fieldset>
        <Field label="Name" error={error}>
          {(attributes) => <input {...attributes} value={name} onInput={(e) => setName(e.currentTarget.value)} required maxLength={100} autocomplete="off" autofocus />}
        </Field>
        <button class="button is-primary is-wide" type="submit" disabled={isBusy}>Create</button>
      </form>
    </Dialog>
  );
}

function RenameDialog({ client, guildId, name: before }: { client: Client; guildId: Id; name: string }): JSX.Element {
  const [name, setName] = useState(before);
  const { isBusy, error, submit } = useSubmit(() => client.rest.renameGuild(guildId, name.trim()), close);
  return (
    <Dialog title="Rename the guild" onClose={close}>
      <form onSubmit={submit}>
        <Field label="Name" error={error}>
          {(attributes) => <input {...attributes} value={name} onInput={(e) => setName(e.currentTarget.value)} required maxLength={100} autocomplete="off" autofocus />}
        </Field>
        <button class="button is-primary is-wide" type="submit" disabled={isBusy}>Rename</button>
      </form>
    </Dialog>
  );
}

const AGES: [number, string][] = [
  [3_600, 'an hour'],
  [86_400, 'a day'],
  [604_800, 'a week'],
  [0, 'ever'],
];

function InviteDialog({ client, channelId }: { client: Client; channelId: Id }): JSX.Element {
  const [age, setAge] = useState(86_400);
  const [invite, setInvite] = useState<Invite | null>(null);
  const [error, setError] = useState<string | undefined>();
  useEffect(() => {
    let isCurrent = true;
    setInvite(null);
    client.rest.createInvite(channelId, age).then(
      (made) => isCurrent && setInvite(made),
      (reason: unknown) => isCurrent && setError(words(reason)),
    );
    return () => void (isCurrent = false);
  }, [channelId, age]);
  const link = invite === null ? '' : inviteLink(invite.code);
  const copy = () => {
    const done = () => notify('info', 'The link is copied.');
    navigator.clipboard?.writeText(link).then(done, () => notify('error', 'Copying is not allowed here. Select the link and copy it.'));
  };
  return (
    <Dialog title="Invite people" onClose={close}>
      <Field label="Send them this link" error={error}>
        {(attributes) => <input {...attributes} readOnly value={link} placeholder="One moment…" autofocus onFocus={(e) => e.currentTarget.select()} />}
      </Field>
      <Field label="It is good for">
        {(attributes) => (
          <select {...attributes} value={age} onChange={(e) => setAge(Number(e.currentTarget.value))}>
            {AGES.map(([seconds, label]) => <option key={seconds} value={seconds}>{label}</option>)}
          </select>
        )}
      </Field>
      <button class="button is-primary is-wide" type="button" disabled={invite === null} onClick={copy}>Copy the link</button>
    </Dialog>
  );
}

function BansDialog({ client, guildId }: { client: Client; guildId: Id }): JSX.Element {
  const [bans, setBans] = useState<Ban[] | null>(null);
  const [error, setError] = useState<string | undefined>();
  const load = () => client.rest.bans(guildId).then(setBans, (reason: unknown) => setError(words(reason)));
  useEffect(() => void load(), [guildId]);
  const lift = async (userId: Id) => {
    if (await attempt(client.rest.unban(guildId, userId))) await load();
  };
  return (
    <Dialog title="Who is banned" onClose={close}>
      <p class="form-error" role="alert">{error}</p>
      {bans?.length === 0 && <p class="quiet">Nobody is.</p>}
      <ul class="bans">
        {bans?.map(({ user }) => (
          <li key={user.id}>
            <Avatar id={user.id} name={userName(user)} />
            <span class="ellipsis">{userName(user)}</span>
            <button type="button" class="button" aria-label={`Lift the ban of ${userName(user)}`} onClick={() => void lift(user.id)}>Lift the ban</button>
          </li>
        ))}
      </ul>
    </Dialog>
  );
}

function ConfirmDialog({ title, text, action, do: doing, next }: Extract<DialogName, { is: 'confirm' }>): JSX.Element {
  const done = () => (dialog.value = next ?? null);
  const { isBusy, error, submit } = useSubmit(doing, done);
  return (
    <Dialog title={title} onClose={done}>
      <form onSubmit={submit}>
        <p>{text}</p>
        <p class="form-error" role="alert">{error}</p>
        <div class="buttons">
          <button class="button" type="button" onClick={done}>Cancel</button>
          <button class="button is-danger" type="submit" disabled={isBusy} autofocus>{action}</button>
        </div>
      </form>
    </Dialog>
  );
}
