// What of the page is open, on screens too narrow for everything.

import { signal, type Signal } from '@preact/signals';

function matches(query: string): Signal<boolean> {
  const list = matchMedia(query);
  const result = signal(list.matches);
  list.addEventListener('change', ({ matches }) => (result.value = matches));
  return result;
}

/** As the styles have it: the guilds and channels do not fit beside the rest. */
export const isNarrow = matches('(max-width: 760px)');
/** The guilds and channels, over the rest. */
export const drawer = signal(false);
/** The list of members. */
export const memberList = signal(matchMedia('(min-width: 1100px)').matches);
