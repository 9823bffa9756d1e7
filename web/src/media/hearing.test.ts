import { describe, expect, it } from 'vitest';

import type { Graph } from './graph';
import { Hearing } from './hearing';

/** Hears people as loud as they are told to be. */
function hearing() {
  const levels = new Map<string, number>();
  return { levels, ears: new Hearing({ levelOf: (userId: string) => levels.get(userId) ?? 0 } as unknown as Graph) };
}

describe('who is heard', () => {
  it('is told when it changes, and a moment late when somebody ends', () => {
    const { levels, ears } = hearing();
    expect(ears.look(['7', '8'], null, 0)).toBeNull();
    levels.set('7', 0.1);
    expect(ears.look(['7', '8'], null, 100)).toEqual(new Set(['7']));
    expect(ears.look(['7', '8'], 'me', 200)).toEqual(new Set(['7', 'me']));
    levels.clear();
    expect(ears.look(['7', '8'], 'me', 300)).toBeNull();
    expect(ears.look(['7', '8'], 'me', 500)).toEqual(new Set(['me']));
  });
});

describe('a silence', () => {
  it('is asked about after a second and then more and more seldom, until somebody is heard', () => {
    const { levels, ears } = hearing();
    const asked: number[] = [];
    for (let now = 0; now <= 100_000; now += 100) if (ears.isSilenceDue(now)) asked.push(now / 1_000);
    expect(asked).toEqual([1, 2, 4, 8, 16, 32, 64, 96]);
    levels.set('7', 0.1);
    ears.look(['7'], null, 100_100);
    expect(ears.isSilenceDue(101_000)).toBe(false);
    expect(ears.isSilenceDue(101_100)).toBe(true);
  });
});
