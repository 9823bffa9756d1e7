// Where in the client the user is: the part of the address behind #, so that links and the back button work.

import { signal, type ReadonlySignal } from '@preact/signals';

import type { Id } from '../protocol/objects';

export type Route = { at: 'home' } | { at: 'guild'; guildId: Id; channelId: Id | null } | { at: 'invite'; code: string };

export function parseRoute(hash: string): Route {
  const [place, first, second] = hash.replace(/^#?\/?/, '').split('/');
  if (place === 'invite' && first) return { at: 'invite', code: decodeURIComponent(first) };
  if (place === 'guild' && first) return { at: 'guild', guildId: first, channelId: second || null };
  return { at: 'home' };
}

export function formatRoute(route: Route): string {
  switch (route.at) {
    case 'home':
      return '#/';
    case 'invite':
      return `#/invite/${encodeURIComponent(route.code)}`;
    case 'guild':
      return `#/guild/${route.guildId}${route.channelId === null ? '' : `/${route.channelId}`}`;
  }
}

/** A code, or a link that has one in it. */
export function inviteCode(text: string): string {
  return /invite\/([^/?#\s]+)/.exec(text)?.[1] ?? text.trim();
}

export function inviteLink(code: string): string {
  return new URL(formatRoute({ at: 'invite', code }), document.baseURI).href;
}

const current = signal<Route>(parseRoute(location.hash));
export const route: ReadonlySignal<Route> = current;

addEventListener('hashchange', () => {
  current.value = parseRoute(location.hash);
});

export function go(to: Route): void {
  const hash = formatRoute(to);
  if (location.hash !== hash) location.hash = hash;
}
