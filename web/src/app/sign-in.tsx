// Signing in and registering. With an invite in the address, whose guild it is.

import { useEffect, useState } from 'preact/hooks';
import type { JSX } from 'preact';

import type { Invite } from '../protocol/objects';
import { words } from './notices';
import { Field } from './parts';
import { Rest, RestError } from './rest';
import { route } from './route';
import { remember } from './settings';

export function SignIn(): JSX.Element {
  const code = route.value.at === 'invite' ? route.value.code : null;
  const [isNew, setNew] = useState(code !== null);
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<RestError | string | null>(null);
  const [invite, setInvite] = useState<Invite | null>(null);

  useEffect(() => void (document.title = 'Guildhall'), []);
  useEffect(() => {
    if (code !== null) new Rest(null).invite(code).then(setInvite, (reason: unknown) => setError(words(reason)));
  }, [code]);

  const submit = async (event: Event) => {
    event.preventDefault();
    if (isBusy) return;
    setBusy(true);
    setError(null);
    try {
      const rest = new Rest(null);
      const session = isNew ? await rest.register(name, password, code) : await rest.login(name, password);
      remember(session.token);
    } catch (reason) {
      setError(reason instanceof RestError ? reason : words(reason));
      setBusy(false);
    }
  };

  const fields = error instanceof RestError ? error.fields : {};
  const message = error === null || Object.keys(fields).length > 0 ? null : signInWords(error, isNew);
  return (
    <main class="sign-in">
      <form class="card" onSubmit={(event) => void submit(event)}>
        <h1>{invite === null ? 'Guildhall' : `Join ${invite.guild.name}`}</h1>
        <p class="quiet">
          {invite === null
            ? isNew ? 'Make an account on this server.' : 'Good to see you again.'
            : `${invite.inviter === null ? 'You are' : `${invite.inviter.global_name ?? invite.inviter.username} has`} invited${invite.inviter === null ? '' : ' you'}. ${isNew ? 'Make an account to accept.' : 'Sign in to accept.'}`}
        </p>
        <Field label="Name" error={fields['username'] ?? fields['login']}>
          {(attributes) => (
            <input {...attributes} name="username" value={name} onInput={(e) => setName(e.currentTarget.value)} autocomplete="username" autocapitalize="none" spellcheck={false} required minLength={2} maxLength={32} autofocus />
          )}
        </Field>
        <Field label="Password" error={fields['password']} {...(isNew ? { hint: 'At least 8 characters.' } : {})}>
          {(attributes) => (
            <input {...attributes} name="password" type="password" value={password} onInput={(e) => setPassword(e.currentTarget.value)} autocomplete={isNew ? 'new-password' : 'current-password'} required minLength={isNew ? 8 : 1} />
          )}
        </Field>
        <p class="form-error" role="alert">{message}</p>
        <button class="button is-primary is-wide" type="submit" disabled={isBusy}>
          {isBusy ? 'One moment…' : isNew ? 'Register' : 'Sign in'}
        </button>
        <button class="link" type="button" onClick={() => { setNew(!isNew); setError(null); }}>
          {isNew ? 'I have an account: sign in' : 'I am new here: register'}
        </button>
      </form>
    </main>
  );
}

function signInWords(error: RestError | string, isNew: boolean): string {
  if (typeof error === 'string') return error;
  if (!isNew && (error.status === 400 || error.status === 401)) return 'Name or password is wrong.';
  if (isNew && error.status === 403) return 'This server takes new accounts only by invite, or none at all. Ask a member for an invite link.';
  return error.message;
}
