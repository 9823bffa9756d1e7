// Where an invite's link leads somebody who is signed in.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';

import { ChannelType, type Invite } from '../protocol/objects';
import type { Client } from './client';
import { words } from './notices';
import { go } from './route';

export function InvitePage({ client, code }: { client: Client; code: string }): JSX.Element {
  const [invite, setInvite] = useState<Invite | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  useEffect(() => {
    client.rest.invite(code).then(setInvite, (reason: unknown) => setError(words(reason)));
  }, [code]);
  const enter = ({ guild, channel }: Invite) => go({ at: 'guild', guildId: guild.id, channelId: channel.type === ChannelType.TEXT ? channel.id : null });
  const accept = async () => {
    setBusy(true);
    try {
      enter(await client.rest.acceptInvite(code));
    } catch (reason) {
      setError(words(reason));
      setBusy(false);
    }
  };
  // Whoever registered by this invite is a member already.
  const isMember = invite !== null && client.store.value.guilds[invite.guild.id] !== undefined;
  useEffect(() => {
    if (isMember && invite !== null) enter(invite);
  }, [isMember]);
  return (
    <main class="sign-in">
      <div class="card">
        <h1>{invite === null ? 'An invite' : `Join ${invite.guild.name}`}</h1>
        {invite !== null && (
          <p class="quiet">
            {invite.inviter === null ? '' : `${invite.inviter.global_name ?? invite.inviter.username} invited you. `}
            {invite.approximate_member_count === 1 ? 'One member.' : `${invite.approximate_member_count} members.`}
          </p>
        )}
        <p class="form-error" role="alert">{error}</p>
        {invite !== null && <button type="button" class="button is-primary is-wide" disabled={isBusy} onClick={() => void accept()} autofocus>Join</button>}
        <button type="button" class="link" onClick={() => go({ at: 'home' })}>Not now</button>
      </div>
    </main>
  );
}
