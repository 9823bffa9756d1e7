// Somebody in voice: whether they are heard, and moving them by hand.

import { useState } from 'preact/hooks';

import type { Channel, VoiceState } from '../protocol/objects';
import { Permission } from '../protocol/permissions';
import type { GuildState } from '../session/store';
import type { Client } from './client';
import { may } from './model';
import { attempt } from './notices';


/** Whether somebody is heard to speak, by who is in the same channel. */
export function speaks(client: Client, state: VoiceState): boolean {
  const { phase, channelId } = client.voice.value;
  return phase !== 'disconnected' && channelId === state.channel_id && !state.mute && !state.suppress && client.speaking.value.has(state.user_id);
}

/** What a dragged person is called, so that nothing else can be dropped in their place. */
export const DRAGGED = 'application/x-guildhall-user';

export function mayMove(client: Client, guild: GuildState, state: VoiceState): boolean {
  const me = client.store.value.me?.id ?? '';
  const channel = state.channel_id === null ? undefined : guild.channels[state.channel_id];
  return state.user_id === me || may(guild, me, Permission.MOVE_MEMBERS, channel);
}

/** Lets people be dropped on a voice channel. Says whether one is held above it. */
export function useDropOfPerson(client: Client, guild: GuildState, channel: Channel | null) {
  const [isTarget, setTarget] = useState(false);
  if (channel === null) return [false, {}] as const;
  const props = {
    onDragOver: (event: DragEvent) => {
      if (event.dataTransfer?.types.includes(DRAGGED) !== true) return;
      event.preventDefault();
      setTarget(true);
    },
    onDragLeave: (event: DragEvent) => {
      if (!(event.currentTarget as Element).contains(event.relatedTarget as Node | null)) setTarget(false);
    },
    onDrop: (event: DragEvent) => {
      event.preventDefault();
      setTarget(false);
      const userId = event.dataTransfer?.getData(DRAGGED) ?? '';
      if (userId === '' || guild.voice[userId]?.channel_id === channel.id) return;
      if (userId === client.store.value.me?.id) client.join(guild.id, channel.id);
      else void attempt(client.rest.changeMember(guild.id, userId, { channel_id: channel.id }));
    },
  };
  return [isTarget, props] as const;
}
