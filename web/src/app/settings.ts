// What this browser remembers: the session, devices, volumes.

import { signal, type Signal } from '@preact/signals';

import type { Id } from '../protocol/objects';
import type { MicrophoneSettings } from '../media/microphone';

export interface Settings extends MicrophoneSettings {
  outputId: string;
  /** KeyboardEvent.code of the push-to-talk key. */
  key: string;
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

function write(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // See above.
  }
}

function load(): Settings {
  try {
    return { ...DEFAULTS, ...(JSON.parse(read(SETTINGS) ?? '{}') as Partial<Settings>) };
  } catch {
    return DEFAULTS;
  }
}

export const settings: Signal<Settings> = signal(load());
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
