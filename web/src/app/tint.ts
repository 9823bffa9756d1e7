// The colours of roles, as far as they can be read: roles have whatever colour somebody chose, on pages light and dark.

/** The least that WCAG AA asks of text. */
const CONTRAST_MIN = 4.5;
/** What is behind names where it is nearest to their colour: the active background, over the side in light and in dark. */
const BEHIND = { light: 0xd8dae3, dark: 0x30333f };
/** How finely a colour is moved towards black or white. */
const STEPS = 24;

type Rgb = readonly [number, number, number];

const split = (color: number): Rgb => [color >> 16, (color >> 8) & 0xff, color & 0xff];

/** As WCAG defines it, from 0 to 1. */
function luminance(color: Rgb): number {
  const [red, green, blue] = color.map((part) => (part <= 10 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4)) as unknown as Rgb;
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

export function contrast(a: number, b: number): number {
  const [brighter = 0, darker = 0] = [luminance(split(a)), luminance(split(b))].sort((x, y) => y - x);
  return (brighter + 0.05) / (darker + 0.05);
}

/** The nearest colour of that hue that can be read there. */
export function readable(color: number, scheme: keyof typeof BEHIND): number {
  const end = scheme === 'light' ? 0 : 0xff;
  for (let step = 0; step < STEPS; step++) {
    const [red, green, blue] = split(color).map((part) => Math.round(part + ((end - part) * step) / STEPS)) as unknown as Rgb;
    const moved = (red << 16) | (green << 8) | blue;
    if (contrast(moved, BEHIND[scheme]) >= CONTRAST_MIN) return moved;
  }
  return end * 0x01_01_01;
}

/** As CSS and colour fields have it. */
export const hex = (color: number): string => `#${color.toString(16).padStart(6, '0')}`;

export const fromHex = (text: string): number => Number.parseInt(text.slice(1), 16) || 0;

/** For the class `tinted`, which takes the one for the light or the dark page. Without a colour there is nothing to set. */
export function tint(color: number): { class: string; style: Record<string, string> } {
  if (color === 0) return { class: '', style: {} };
  return { class: 'tinted', style: { '--light': hex(readable(color, 'light')), '--dark': hex(readable(color, 'dark')) } };
}
