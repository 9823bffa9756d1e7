// Keys that work everywhere on the page.

import type { Client } from './client';
import { settings } from './settings';
import { drawer } from './shell-state';

/** Whether a key pressed now would write something. */
function isWriting(event: KeyboardEvent): boolean {
  const target = event.target;
  const isField = target instanceof HTMLTextAreaElement || (target instanceof HTMLInputElement && !['radio', 'checkbox', 'range'].includes(target.type));
  return isField && event.key.length === 1 && !event.ctrlKey && !event.metaKey;
}

/** Whether what is typed has no other place to go: then it is a message. */
function isIdle(event: KeyboardEvent): boolean {
  const isText = event.key.length === 1 && event.key !== ' ' && !event.ctrlKey && !event.metaKey && !event.altKey;
  const focused = document.activeElement;
  return isText && !event.defaultPrevented && (focused === null || focused === document.body || focused.id === 'main') && document.querySelector('dialog[open]') === null;
}

export function listenToKeys(client: Client): () => void {
  const stopping = new AbortController();
  const { signal } = stopping;
  const isTalkKey = (event: KeyboardEvent) => client.talkMode.value === 'push to talk' && event.code === settings.value.key;
  addEventListener(
    'keydown',
    (event) => {
      const isShortcut = (event.ctrlKey || event.metaKey) && event.shiftKey && !event.altKey;
      if (isShortcut && (event.code === 'KeyM' || event.code === 'KeyD')) {
        event.preventDefault();
        if (event.repeat) return;
        const { selfMute, selfDeaf } = settings.value;
        if (event.code === 'KeyM') client.setMute(!(selfMute || selfDeaf));
        else client.setDeaf(!selfDeaf);
        return;
      }
      if (event.key === 'Escape' && !event.defaultPrevented && drawer.value) drawer.value = false;
      if (isTalkKey(event) && !isWriting(event)) {
        client.call?.setHeld(true);
        if (event.key.length === 1) event.preventDefault();
        return;
      }
      if (isIdle(event)) document.querySelector<HTMLElement>('.composer textarea:enabled')?.focus();
    },
    { signal },
  );
  addEventListener('keyup', (event) => isTalkKey(event) && client.call?.setHeld(false), { signal });
  // A key that is let go elsewhere is not heard of.
  addEventListener('blur', () => client.call?.setHeld(false), { signal });
  return () => stopping.abort();
}
