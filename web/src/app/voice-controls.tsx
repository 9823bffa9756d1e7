// The buttons that change what is said and heard, wherever they stand.

import type { JSX } from 'preact';

import type { VoiceState } from '../protocol/objects';
import type { Client } from './client';
import { Icon } from './icons';
import { IconButton } from './parts';
import { SHORTCUT, settings } from './settings';

/** The user in voice, as the server has it. */
function ownState(client: Client): VoiceState | undefined {
  return client.voiceChannel.value?.guild.voice[client.store.value.me?.id ?? ''];
}

export function MuteButton({ client }: { client: Client }): JSX.Element {
  const { selfMute, selfDeaf } = settings.value;
  const isMuted = selfMute || selfDeaf;
  const isBarred = ownState(client)?.mute === true;
  return (
    <IconButton
      icon={isBarred ? 'microphoneBarred' : isMuted ? 'microphoneOff' : 'microphone'}
      label={`${isMuted ? 'Unmute' : 'Mute'} (${SHORTCUT}M)${isBarred ? '. A moderator muted you' : ''}`}
      isPressed={isMuted}
      kind={isMuted || isBarred ? 'is-off' : ''}
      onClick={() => client.setMute(!isMuted)}
    />
  );
}

export function DeafButton({ client }: { client: Client }): JSX.Element {
  const { selfDeaf } = settings.value;
  const isBarred = ownState(client)?.deaf === true;
  return (
    <IconButton
      icon={isBarred ? 'headphonesBarred' : selfDeaf ? 'headphonesOff' : 'headphones'}
      label={`${selfDeaf ? 'Undeafen' : 'Deafen'} (${SHORTCUT}D)${isBarred ? '. A moderator deafened you' : ''}`}
      isPressed={selfDeaf}
      kind={selfDeaf || isBarred ? 'is-off' : ''}
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
