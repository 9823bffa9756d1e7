// What keeps somebody in voice from speaking or hearing: their own doing, a moderator's, or that they may only listen.

import type { JSX } from 'preact';

import type { VoiceState } from '../protocol/objects';
import { Icon, type IconName } from './icons';

export interface VoiceMark {
  icon: IconName;
  label: string;
  /** Only moderators end it, so that it is told in words beside the icon. */
  isByModerator: boolean;
}

/** The stronger reason hides the weaker one: whom a moderator muted is not heard, whatever else. */
export function voiceMarks(state: VoiceState): VoiceMark[] {
  const marks: VoiceMark[] = [];
  const own = (icon: IconName, label: string) => marks.push({ icon, label, isByModerator: false });
  const moderated = (icon: IconName, label: string) => marks.push({ icon, label: `${label} by a moderator`, isByModerator: true });
  if (state.mute) moderated('microphoneBarred', 'muted');
  else if (state.suppress) own('microphoneOff', 'only listens here');
  else if (state.self_mute) own('microphoneOff', 'muted');
  if (state.deaf) moderated('headphonesBarred', 'deafened');
  else if (state.self_deaf) own('headphonesOff', 'deafened');
  return marks;
}

/** What a moderator did, in one line; empty where none did. */
export function moderatedWords(marks: readonly VoiceMark[]): string {
  const done = marks.filter(({ isByModerator }) => isByModerator).map(({ label }) => label.replace(/ by .*/, ''));
  return done.length === 0 ? '' : `${done.join(' and ')} by a moderator`;
}

export function Marks({ marks }: { marks: readonly VoiceMark[] }): JSX.Element {
  return (
    <>
      {marks.map(({ icon, label, isByModerator }) => (
        <span key={icon} class={`mark${isByModerator ? ' is-danger' : ''}`} title={label}><Icon name={icon} size={isByModerator ? 17 : 15} /></span>
      ))}
    </>
  );
}

/** Screen readers have it in the label of what this stands in. */
export function ModeratedLine({ marks }: { marks: readonly VoiceMark[] }): JSX.Element | null {
  const words = moderatedWords(marks);
  return words === '' ? null : <small class="moderated">{words}</small>;
}
