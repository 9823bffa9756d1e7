"""Which tones are in a piece of sound: its power on a grid of 10 Hz, summed over blocks of 100 ms."""

import math
from array import array
from operator import mul

# 48 kHz is brought down to 8 kHz first: the tones of the tests lie far below.
DECIMATION = 6
RATE_HZ = 48_000 // DECIMATION
# With blocks of 100 ms each step of the grid is exactly one bin, so no tone falls between two of them.
BLOCK_SAMPLES = 800
STEP_HZ = 10
GRID_HZ = range(100, 2_001, STEP_HZ)
PEAKS_MAX = 3
# So many blocks, spread over the interval, are enough, and Python is slow.
BLOCKS_MAX = 5
# A peak 20 dB under the strongest is a by-product of the codec, not a tone someone plays.
PEAK_FLOOR = 0.01
# Below this loudness there is no tone but the codec's own noise.
SILENCE_RMS = 0.001


def rms(stereo: array) -> float:
    """The loudness of 16-bit samples, 1 being full scale."""
    if not stereo:
        return 0.0
    return math.sqrt(sum(map(mul, stereo, stereo)) / len(stereo)) / 32_768


def peaks_hz(stereo: array) -> list[int]:
    """The strongest tones, the strongest first."""
    if rms(stereo) < SILENCE_RMS:
        return []
    blocks = _blocks(stereo)
    grid = [(sum(_power(block, hz) for block in blocks), hz) for hz in GRID_HZ]
    floor = max(grid)[0] * PEAK_FLOOR
    around = zip(grid, grid[1:], grid[2:])
    peaks = [here for below, here, above in around if here[0] > floor and below[0] < here[0] >= above[0]]
    return [hz for _, hz in sorted(peaks, reverse=True)[:PEAKS_MAX]]


def _blocks(stereo: array) -> list[list[float]]:
    samples = 2 * DECIMATION
    slow = [sum(stereo[at : at + samples]) / samples for at in range(0, len(stereo) - samples + 1, samples)]
    blocks = [slow[at : at + BLOCK_SAMPLES] for at in range(0, len(slow) - BLOCK_SAMPLES + 1, BLOCK_SAMPLES)]
    return blocks[:: math.ceil(len(blocks) / BLOCKS_MAX) or 1]


def _power(block: list[float], hz: int) -> float:
    return sum(sum(map(mul, block, wave)) ** 2 for wave in _WAVES[hz])


def _wave(circle: list[float], hz: int) -> array:
    turns = hz // STEP_HZ
    return array('d', (_HANN[at] * circle[turns * at % BLOCK_SAMPLES] for at in range(BLOCK_SAMPLES)))


# Made at the start: later there is sound to be received and sent every 20 ms.
_TURN = [math.tau * at / BLOCK_SAMPLES for at in range(BLOCK_SAMPLES)]
_COSINE, _SINE = [math.cos(at) for at in _TURN], [math.sin(at) for at in _TURN]
# Hann's window keeps a strong tone from hiding weaker ones beside it.
_HANN = [0.5 - 0.5 * at for at in _COSINE]
_WAVES = {hz: (_wave(_COSINE, hz), _wave(_SINE, hz)) for hz in GRID_HZ}
