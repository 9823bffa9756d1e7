import { expect, it } from 'vitest';

import { CLOSED, FLOOR_DB, KEY_HANG_MS, VOICE_HANG_MS, decibels, stepGate, type GateSettings } from './gate';

const voice: GateSettings = { mode: 'voice', thresholdDb: -50 };
const key: GateSettings = { mode: 'push to talk', thresholdDb: -50 };
const at = (now: number, levelDb: number, isHeld = false) => ({ now, levelDb, isHeld });

it('opens by voice at once and closes after the voice has been gone for a while', () => {
  expect(stepGate(CLOSED, voice, at(0, -51)).isOpen).toBe(false);
  const open = stepGate(CLOSED, voice, at(0, -50));
  expect(open.isOpen).toBe(true);
  expect(stepGate(open, voice, at(VOICE_HANG_MS - 1, -90)).isOpen).toBe(true);
  expect(stepGate(open, voice, at(VOICE_HANG_MS, -90)).isOpen).toBe(false);
});

it('stays open for a voice that becomes a little quieter', () => {
  const open = stepGate(CLOSED, voice, at(0, -50));
  expect(stepGate(open, voice, at(200, -55)).until).toBe(200 + VOICE_HANG_MS);
  expect(stepGate(open, voice, at(200, -57)).until).toBe(VOICE_HANG_MS);
});

it('opens by key whatever the level is, and only then', () => {
  expect(stepGate(CLOSED, key, at(0, 0)).isOpen).toBe(false);
  const open = stepGate(CLOSED, key, at(0, FLOOR_DB, true));
  expect(open.isOpen).toBe(true);
  expect(stepGate(open, key, at(KEY_HANG_MS - 1, 0)).isOpen).toBe(true);
  expect(stepGate(open, key, at(KEY_HANG_MS, 0)).isOpen).toBe(false);
});

it('measures in decibels', () => {
  expect(decibels(1)).toBe(0);
  expect(decibels(0.1)).toBeCloseTo(-20);
  expect(decibels(0)).toBe(FLOOR_DB);
});
