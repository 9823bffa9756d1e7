// The beginning: who is signed in, and the page for them.

import { effect, signal, untracked } from '@preact/signals';
import { render, type JSX } from 'preact';

import { forgetDrafts } from './chat';
import { Client } from './client';
import { exposeHook } from './hook';
import { notify } from './notices';
import { Notices } from './parts';
import { remember, token } from './settings';
import { Shell } from './shell';
import { SignIn } from './sign-in';
import './styles/base.css';
import './styles/shell.css';
import './styles/chat.css';
import './styles/voice.css';
import './styles/people.css';
import './styles/dialogs.css';

const client = signal<Client | null>(null);

effect(() => {
  const value = token.value;
  untracked(() => {
    client.value?.stop();
    forgetDrafts();
    client.value = value === null ? null : new Client(value);
    void client.value?.start();
  });
});

effect(() => {
  const failure = client.value?.failure.value;
  if (failure === 'token') {
    remember(null);
    notify('error', 'You are signed out: the server ended this session. Sign in again.');
  }
  if (failure === 'refused') notify('error', 'The server refuses this client. Reload the page; if that does not help, ask who runs the server.');
});

function signOut(): void {
  // The server forgets the token; where it cannot be reached, at least this browser does.
  client.peek()?.rest.logout().catch(() => undefined);
  remember(null);
}

function App(): JSX.Element {
  return (
    <>
      {client.value === null ? <SignIn /> : <Shell client={client.value} onSignOut={signOut} />}
      <Notices />
    </>
  );
}

exposeHook(() => client.peek());
render(<App />, document.getElementById('app') as HTMLElement);
