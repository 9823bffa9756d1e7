// How long to wait before the next attempt. Randomness is given in, so that a test knows the answer.

const FIRST_MS = 1_000;
const LONGEST_MS = 30_000;

/**
 * The wait before attempt number `attempt` (the first is 1): doubled each time up to a bound, and spread over its upper
 * half, so that thousands of clients do not come back at one moment after a restart.
 */
export function backoffMs(attempt: number, random: number): number {
  const whole = Math.min(FIRST_MS * 2 ** Math.max(0, attempt - 1), LONGEST_MS);
  return Math.round(whole * (0.5 + random / 2));
}
