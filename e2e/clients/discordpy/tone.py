"""An endless sine, which discord.py encodes with Opus."""

import math
from array import array

import discord

RATE_HZ = 48_000
FRAME_SAMPLES = 960
# Loud enough to stand far above the codec's noise, with room below full scale.
AMPLITUDE = 16_000


class Tone(discord.AudioSource):
    def __init__(self, hz: float) -> None:
        self._step = hz / RATE_HZ
        self._turn = 0.0

    def read(self) -> bytes:
        frame = array('h')
        for at in range(FRAME_SAMPLES):
            sample = round(AMPLITUDE * math.sin(math.tau * (self._turn + at * self._step)))
            frame.extend((sample, sample))
        self._turn = math.fmod(self._turn + FRAME_SAMPLES * self._step, 1.0)
        return frame.tobytes()

    def is_opus(self) -> bool:
        return False
