// Short messages to the user: what went wrong and what to do, or that something is done.

import { signal } from '@preact/signals';

import { RestError } from './rest';

export interface Notice {
  id: number;
  kind: 'error' | 'info';
  text: string;
}

export const notices = signal<readonly Notice[]>([]);

const SHOWN_MS = 7_000;
/** What is only for those who cannot see it: who came, what was written. */
export const said = signal<readonly { id: number; text: string }[]>([]);
const SAID_MAX = 5;

let last = 0;

export function say(text: string): void {
  said.value = [...said.value, { id: ++last, text }].slice(-SAID_MAX);
}

export function notify(kind: Notice['kind'], text: string): void {
  const id = ++last;
  // The same words twice are one message.
  notices.value = [...notices.value.filter((notice) => notice.text !== text), { id, kind, text }].slice(-3);
  setTimeout(() => dismiss(id), SHOWN_MS);
}

export function dismiss(id: number): void {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}

export function words(error: unknown): string {
  if (error instanceof RestError) return error.message;
  console.warn(error);
  return 'That did not work. Reload the page and try again.';
}

/** Does something whose failure the user should read about. Says whether it worked. */
export async function attempt(doing: Promise<unknown>): Promise<boolean> {
  try {
    await doing;
    return true;
  } catch (error) {
    notify('error', words(error));
    return false;
  }
}
