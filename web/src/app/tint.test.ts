import { expect, it } from 'vitest';

import { contrast, fromHex, hex, readable, tint } from './tint';

it('contrast is what WCAG says', () => {
  expect(contrast(0x000000, 0xffffff)).toBeCloseTo(21);
  expect(contrast(0x777777, 0xffffff)).toBeCloseTo(4.48, 2);
  expect(contrast(0xff0000, 0xff0000)).toBe(1);
});

it('every colour can be read on both pages, and those that could be are left alone', () => {
  for (let color = 0; color <= 0xffffff; color += 0x0f0f1) {
    expect(contrast(readable(color, 'light'), 0xd8dae3), hex(color)).toBeGreaterThanOrEqual(4.5);
    expect(contrast(readable(color, 'dark'), 0x30333f), hex(color)).toBeGreaterThanOrEqual(4.5);
  }
  expect(readable(0x8b0000, 'light')).toBe(0x8b0000);
  expect(readable(0xffd700, 'dark')).toBe(0xffd700);
  expect(readable(0xffd700, 'light')).not.toBe(0xffd700);
});

it('a moved colour keeps its hue', () => {
  const [red, green, blue] = [16, 8, 0].map((by) => (readable(0x0000ff, 'dark') >> by) & 0xff);
  expect([red, blue]).toEqual([green, 0xff]);
});

it('colours are written as six digits, and none is set where there is none', () => {
  expect([hex(0), hex(0xff), hex(0xabcdef)]).toEqual(['#000000', '#0000ff', '#abcdef']);
  expect([fromHex('#0000ff'), fromHex('#abcdef'), fromHex('')]).toEqual([0xff, 0xabcdef, 0]);
  expect(tint(0)).toEqual({ class: '', style: {} });
  expect(Object.keys(tint(0xff0000).style)).toEqual(['--light', '--dark']);
});
