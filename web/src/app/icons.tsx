// Icons, drawn in the colour of the text beside them.

import type { JSX } from 'preact';

const PATHS = {
  hash: 'M9 4 7 20M17 4l-2 16M4 9h16.5M3.5 15H20',
  speaker: 'M11 5 6.5 9H3v6h3.5L11 19V5ZM15 9a4.5 4.5 0 0 1 0 6M17.5 6a8.5 8.5 0 0 1 0 12',
  stage: 'M12 13a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM8 20v-1a4 4 0 0 1 8 0v1M5 13a8 8 0 1 1 14 0',
  microphone: 'M12 14a3 3 0 0 0 3-3V6a3 3 0 0 0-6 0v5a3 3 0 0 0 3 3ZM6 11a6 6 0 0 0 12 0M12 17v4M9 21h6',
  microphoneOff: 'M12 14a3 3 0 0 0 3-3V6a3 3 0 0 0-6 0v5a3 3 0 0 0 3 3ZM6 11a6 6 0 0 0 12 0M12 17v4M9 21h6M4 3l16 18',
  microphoneBarred: 'M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20ZM4.9 4.9l14.2 14.2M10 10V8a2 2 0 0 1 4 0v4M8.5 12a3.5 3.5 0 0 0 6 2.5M12 15.5v2',
  headphones: 'M4 15v-3a8 8 0 0 1 16 0v3M4 14h3v6H5a1 1 0 0 1-1-1v-5ZM20 14h-3v6h2a1 1 0 0 0 1-1v-5Z',
  headphonesOff: 'M4 15v-3a8 8 0 0 1 16 0v3M4 14h3v6H5a1 1 0 0 1-1-1v-5ZM20 14h-3v6h2a1 1 0 0 0 1-1v-5ZM4 3l16 18',
  headphonesBarred: 'M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20ZM4.9 4.9l14.2 14.2M7.5 14v-2a4.5 4.5 0 0 1 9 0v2M7.5 13v3.5M16.5 13v2',
  hangUp: 'M2.5 14.5c5.3-6.4 13.7-6.4 19 0L18.6 18l-4.1-2v-3.1a10.5 10.5 0 0 0-5 0V16l-4.1 2-2.9-3.5Z',
  settings: 'M3 6.5h10M19 6.5h2M16 9.5a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM3 17.5h2M11 17.5h10M8 20.5a3 3 0 1 0 0-6 3 3 0 0 0 0 6Z',
  plus: 'M12 5v14M5 12h14',
  close: 'M6 6l12 12M18 6 6 18',
  menu: 'M4 7h16M4 12h16M4 17h16',
  more: 'M6 12h.01M12 12h.01M18 12h.01',
  invite: 'M9 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM2.5 20a6.5 6.5 0 0 1 13 0M19 8v6M16 11h6',
  people: 'M9 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM2.5 20a6.5 6.5 0 0 1 13 0M16 4.5a4 4 0 0 1 0 7M18 14a6.5 6.5 0 0 1 3.5 6',
  edit: 'M4 20l1-4L16 5l3 3L8 19l-4 1ZM14 7l3 3',
  trash: 'M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13',
  chat: 'M4 5h16v11H10l-4 4v-4H4V5Z',
  signal: 'M5 19v-3M10 19v-7M15 19V8M20 19V4',
  send: 'M4 12 20 4l-4 16-4-7-8-1Z',
  logout: 'M10 4H5v16h5M14 8l4 4-4 4M18 12H9',
} as const;

/** Those that are too thin as outlines. */
const FILLED: ReadonlySet<string> = new Set(['hangUp']);

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 20 }: { name: IconName; size?: number }): JSX.Element {
  return (
    <svg class={FILLED.has(name) ? 'icon is-filled' : 'icon'} viewBox="0 0 24 24" width={size} height={size} aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
