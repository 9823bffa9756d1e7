// The buttons that change what is said and heard, wherever they stand.

import type { JSX } from 'preact';

import type { Client } from './client';
import { Icon } from './icons';
import { IconButton } from './parts';
import { SHORTCUT, settings } from './settings';

export function MuteButton({ client }: { client: Client }): JSX.Element {
  const { selfMute, selfDeaf } = settings.value;
  const isMuted = selfMute || selfDeaf;
  return (
    <IconButton
      icon={isMuted ? 'microphoneOff' : 'microphone'}
      label={`${isMuted ? 'Unmute' : 'Mute'} (${SHORTCUT}M)`}
      isPressed={isMuted}
      kind={isMuted ? 'is-off' : ''}
      onClick={() => client.setMute(!isMuted)}
    />
  );
}

export function DeafButton({ client }: { client: Client }): JSX.Element {
  const { selfDeaf } = settings.value;
  return (
    <IconButton
      icon={selfDeaf ? 'headphonesOff' : 'headphones'}
      label={`${selfDeaf ? 'Undeafen' : 'Deafen'} (${SHORTCUT}D)`}
      isPressed={selfDeaf}
      kind={selfDeaf ? 'is-off' : ''}
      onClick={() => client.setDeaf(!selfDeaf)}
    />
  );
}

export function LeaveButton({ client }: { client: Client }): JSX.Element {
  return <IconButton icon="hangUp" label="Leave the voice channel" kind="is-danger" onClick={() => client.leave()} />;
}

/** Push to talk without a keyboard. */
export function HoldButton({ client }: { client: Client }): JSX.Element | null {
  if (client.talkMode.value !== 'push to talk') return null;
  const { selfMute, selfDeaf } = settings.value;
  const hold = (isHeld: boolean) => client.call?.setHeld(isHeld);
  const isTalking = client.speaking.value.has(client.store.value.me?.id ?? '');
  return (
    <button
      type="button"
      class={`button is-hold${isTalking ? ' is-talking' : ''}`}
      disabled={selfMute || selfDeaf}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        hold(true);
      }}
      onPointerUp={() => hold(false)}
      onPointerCancel={() => hold(false)}
      onContextMenu={(event) => event.preventDefault()}
      onKeyDown={(event) => (event.key === ' ' || event.key === 'Enter') && hold(true)}
      onKeyUp={(event) => (event.key === ' ' || event.key === 'Enter') && hold(false)}
      onBlur={() => hold(false)}
    >
      <Icon name="microphone" size={18} /> Hold to talk
    </button>
  );
}
