import { describe, expect, it } from 'vitest';

import { LATELY_MS, READY_MAX, audible, type Stream } from './audible';

const NOW = 1_000_000;

function channel(people: number, change: Record<number, Partial<Stream>> = {}): Map<string, Stream> {
  const stream = (n: number): Stream => ({ ssrc: n, isSpeaking: false, spokeAt: null, ...change[n] });
  return new Map(Array.from({ length: people }, (_, n) => [String(n), stream(n)]));
}

describe('who is audible', () => {
  it('is everybody where there are few', () => {
    expect(audible(channel(READY_MAX), NOW).size).toBe(READY_MAX);
  });

  it('is not everybody where there are many, and whoever speaks', () => {
    const silent = audible(channel(200), NOW);
    expect([...silent]).toEqual(Array.from({ length: READY_MAX }, (_, n) => String(n)));
    const one = audible(channel(200, { 150: { isSpeaking: true } }), NOW);
    expect(one.size).toBe(READY_MAX);
    expect(one.has('150')).toBe(true);
    // Somebody makes room, and the others stay.
    expect([...silent].filter((userId) => !one.has(userId))).toEqual([String(READY_MAX - 1)]);
  });

  it('prefers who spoke last', () => {
    const spoke = { 150: { spokeAt: 5 }, 160: { spokeAt: 7 }, 170: { spokeAt: NOW - 10 } };
    expect([...audible(channel(200, spoke), NOW)].slice(0, 4)).toEqual(['170', '160', '150', '0']);
  });

  it('leaves nobody out who speaks or lately did', () => {
    const all = (stream: Partial<Stream>) => channel(100, Object.fromEntries(Array.from({ length: 100 }, (_, n) => [n, stream])));
    expect(audible(all({ isSpeaking: true }), NOW).size).toBe(100);
    expect(audible(all({ spokeAt: NOW - LATELY_MS + 1 }), NOW).size).toBe(100);
    expect(audible(all({ spokeAt: NOW - LATELY_MS }), NOW).size).toBe(READY_MAX);
  });
});
