// Short tones that tell what happened to somebody who looks elsewhere: who came, who left, whether one is heard.

export type Cue = 'joined' | 'left' | 'muted' | 'unmuted';

/** Two notes each, in hertz: upwards is more, downwards is less. */
const NOTES: Record<Cue, readonly [number, number]> = {
  joined: [440, 660],
  left: [660, 440],
  muted: [520, 390],
  unmuted: [390, 520],
};
const NOTE_S = 0.09;
const VOLUME = 0.06;
/** Many who come at once are one sound. */
const APART_S = 0.25;

const lastAt = new WeakMap<AudioContext, number>();

/** Plays beside what is heard of others, so that their volumes and a deafening do not change it. */
export function playCue(context: AudioContext, cue: Cue): void {
  const now = context.currentTime;
  if (context.state !== 'running' || now - (lastAt.get(context) ?? -Infinity) < APART_S) return;
  lastAt.set(context, now);
  const gain = context.createGain();
  gain.connect(context.destination);
  NOTES[cue].forEach((hertz, at) => {
    const begin = now + at * NOTE_S;
    const tone = context.createOscillator();
    tone.frequency.value = hertz;
    tone.connect(gain);
    // Rounded ends: a tone that begins at once begins with a click.
    gain.gain.setValueAtTime(0, begin);
    gain.gain.linearRampToValueAtTime(VOLUME, begin + NOTE_S / 4);
    gain.gain.linearRampToValueAtTime(0, begin + NOTE_S);
    tone.start(begin);
    tone.stop(begin + NOTE_S);
    if (at > 0) tone.onended = () => gain.disconnect();
  });
}
