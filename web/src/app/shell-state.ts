// What of the page is open, on screens too narrow for everything.

import { signal } from '@preact/signals';

/** The guilds and channels, over the rest. */
export const drawer = signal(false);
/** The list of members. */
export const memberList = signal(matchMedia('(min-width: 1100px)').matches);
