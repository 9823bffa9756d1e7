// When the microphone is open: by voice, or by a key that is held. Levels and the time are given in.

export type GateMode = 'voice' | 'push to talk';

export interface GateSettings {
  mode: GateMode;
  /** In decibels below full scale: quieter is no voice. */
  thresholdDb: number;
}

export interface GateState {
  isOpen: boolean;
  /** Until when it stays open without another reason to. */
  until: number;
}

/** Words have quiet ends, and a gate that closes between them is heard. */
export const VOICE_HANG_MS = 300;
/** People let go of the key before they have finished. */
export const KEY_HANG_MS = 150;
/** How much quieter than what opened it a voice may become before the gate begins to close. */
const HYSTERESIS_DB = 6;

export const CLOSED: GateState = { isOpen: false, until: 0 };

export function stepGate(gate: GateState, settings: GateSettings, heard: { levelDb: number; isHeld: boolean; now: number }): GateState {
  const { levelDb, isHeld, now } = heard;
  const isVoice = settings.mode === 'voice';
  const threshold = gate.isOpen ? settings.thresholdDb - HYSTERESIS_DB : settings.thresholdDb;
  const hasReason = isVoice ? levelDb >= threshold : isHeld;
  if (hasReason) return { isOpen: true, until: now + (isVoice ? VOICE_HANG_MS : KEY_HANG_MS) };
  return gate.isOpen && now < gate.until ? gate : CLOSED;
}

/** The level of a block of samples; silence is the floor, since its logarithm has none. */
export const FLOOR_DB = -100;

export function decibels(rms: number): number {
  return rms <= 0 ? FLOOR_DB : Math.max(FLOOR_DB, 20 * Math.log10(rms));
}
