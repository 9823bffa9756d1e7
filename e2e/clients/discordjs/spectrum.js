// Which tones are in a piece of sound: Goertzel's filter on a grid of 10 Hz, averaged over blocks of 100 ms.

// 48 kHz is brought down to 8 kHz first: the tones of the tests lie far below.
const DECIMATION = 6;
const RATE_HZ = 48_000 / DECIMATION;
// With blocks of 100 ms each step of the grid is exactly one bin, so no tone falls between two of them.
const BLOCK_SAMPLES = 800;
const LOWEST_HZ = 100;
const HIGHEST_HZ = 2_000;
const STEP_HZ = 10;
const PEAKS_MAX = 3;
// A peak 20 dB under the strongest is a by-product of the codec, not a tone someone plays.
const PEAK_FLOOR = 0.01;
// Below this loudness there is no tone but the codec's own noise.
const SILENCE_RMS = 0.001;

/** The loudness of mono 16-bit samples, 1 being full scale. */
export function rms(samples) {
  if (samples.length === 0) return 0;
  return Math.sqrt(samples.reduce((sum, sample) => sum + (sample / 32_768) ** 2, 0) / samples.length);
}

/** The strongest tones, the strongest first. */
export function peaksHz(samples) {
  if (rms(samples) < SILENCE_RMS) return [];
  const slow = decimate(samples);
  const grid = [];
  for (let hz = LOWEST_HZ; hz <= HIGHEST_HZ; hz += STEP_HZ) grid.push({ hz, power: power(slow, hz) });
  const floor = Math.max(...grid.map((point) => point.power)) * PEAK_FLOOR;
  return grid
    .filter(({ power: here }, at) => here > floor && here > grid[at - 1]?.power && here >= grid[at + 1]?.power)
    .sort((left, right) => right.power - left.power)
    .slice(0, PEAKS_MAX)
    .map(({ hz }) => hz);
}

function decimate(samples) {
  const slow = new Float64Array(Math.floor(samples.length / DECIMATION));
  return slow.map((_, at) => {
    const chunk = samples.slice(at * DECIMATION, (at + 1) * DECIMATION);
    return chunk.reduce((sum, sample) => sum + sample, 0) / DECIMATION;
  });
}

function power(samples, hz) {
  const coefficient = 2 * Math.cos((2 * Math.PI * hz) / RATE_HZ);
  let total = 0;
  for (let start = 0; start + BLOCK_SAMPLES <= samples.length; start += BLOCK_SAMPLES) {
    let before = 0;
    let last = 0;
    for (let at = 0; at < BLOCK_SAMPLES; at++) {
      const next = samples[start + at] * HANN[at] + coefficient * last - before;
      before = last;
      last = next;
    }
    total += before * before + last * last - coefficient * before * last;
  }
  return total;
}

// Hann's window keeps a strong tone from hiding weaker ones beside it.
const HANN = Float64Array.from(
  { length: BLOCK_SAMPLES },
  (_, at) => 0.5 - 0.5 * Math.cos((2 * Math.PI * at) / BLOCK_SAMPLES),
);
