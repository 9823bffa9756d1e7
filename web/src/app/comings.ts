// Who comes to the user's voice channel, and who leaves it.

import type { Cue } from '../media/cues';
import type { Id, VoiceStateUpdate } from '../protocol/objects';
import type { Store } from '../session/store';
import { nameIn } from './model';

/** What an update changes for those in a channel, by a store that does not know of it yet; null where that is nothing. */
export function comingOrGoing(store: Store, here: Id, update: VoiceStateUpdate): { cue: Cue; words: string } | null {
  const { guild_id, user_id, channel_id, member } = update;
  const guild = store.guilds[guild_id];
  const wasHere = guild?.voice[user_id]?.channel_id === here;
  const isHere = channel_id === here;
  // The user's own coming and going is told by the connection.
  if (wasHere === isHere || user_id === store.me?.id) return null;
  const name = nameIn(guild, user_id, member?.user);
  return isHere ? { cue: 'joined', words: `${name} joined the channel.` } : { cue: 'left', words: `${name} left the channel.` };
}
