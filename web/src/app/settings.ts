// What this browser remembers: the session, devices, volumes.

import { signal, type Signal } from '@preact/signals';

import type { Id } from '../protocol/objects';
import type { MicrophoneSettings } from '../media/microphone';

export interface Settings extends MicrophoneSettings {
  outputId: string;
  /** KeyboardEvent.code of the push-to-talk key. */
  key: string;
  /** Tones for who comes and goes. */
  cues: boolean;
  selfMute: boolean;
  selfDeaf: boolean;
  volumes: Record<Id, number>;
}

const DEFAULTS: Settings = {
  deviceId: '',
  outputId: '',
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
  mode: 'voice',
  thresholdDb: -50,
  key: 'Backquote',
  cues: true,
  selfMute: false,
  selfDeaf: false,
  volumes: {},
};

const SETTINGS = 'guildhall.settings';
const TOKEN = 'guildhall.token';

/** Storage may be forbidden; then this browser remembers nothing, and everything else works. */
function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function write(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // See above.
  }
}

/** What was written as JSON; null where that is nothing, or nothing that can be read. */
export function recall<T>(key: string): T | null {
  try {
    return JSON.parse(read(key) ?? 'null') as T | null;
  } catch {
    return null;
  }
}

export const settings: Signal<Settings> = signal({ ...DEFAULTS, ...recall<Partial<Settings>>(SETTINGS) });
export const token: Signal<string | null> = signal(read(TOKEN));

const LEFT = 'guildhall.left';

/** For as long as this tab lives: that it was in voice when its page went. */
export function rememberLeaving(): void {
  try {
    sessionStorage.setItem(LEFT, 'yes');
  } catch {
    // See above.
  }
}

/** Whether the page before this one was in voice; said once. */
export function wasLeaving(): boolean {
  try {
    const was = sessionStorage.getItem(LEFT) !== null;
    sessionStorage.removeItem(LEFT);
    return was;
  } catch {
    return false;
  }
}

export function change(part: Partial<Settings>): void {
  settings.value = { ...settings.value, ...part };
  write(SETTINGS, JSON.stringify(settings.value));
}

export function remember(value: string | null): void {
  write(TOKEN, value);
  token.value = value;
}

/** What the shortcuts of this page begin with. */
export const SHORTCUT = /Mac|iPhone|iPad/.test(globalThis.navigator?.userAgent ?? '') ? '⌘⇧' : 'Ctrl+Shift+';

/** A key's name on most keyboards, from its code. */
export function keyName(code: string): string {
  return code.replace(/^(Key|Digit)/, '').replace(/([a-z])([A-Z0-9])/g, '$1 $2');
}
