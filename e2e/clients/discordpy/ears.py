"""What was received, by SSRC: the packets as they came off the network, and the sound decoded from them.

discord.py itself only sends, so everything here is the bot's: the datagrams come from the library's socket, decryption is
PyNaCl's and decoding discord.py's own binding of libopus.
"""

import struct
import time
from array import array

import discord
import nacl.bindings
from control import emit
from spectrum import peaks_hz, rms

# A stream that has been silent for longer than this belongs to an earlier scene of the test.
STREAM_REMEMBERED_S = 10.0
RTP_HEADER_BYTES = 12
OPUS_PAYLOAD_TYPE = 120
MODE = 'aead_xchacha20_poly1305_rtpsize'
NONCE_SUFFIX_BYTES = 4


class Ears:
    def __init__(self) -> None:
        self.users: dict[int, str] = {}
        self._streams: dict[int, Stream] = {}
        self._listening = False

    def datagram(self, voice: discord.VoiceClient, data: bytes) -> None:
        """Any datagram; those that are no RTP packets of Opus are left alone."""
        if len(data) < RTP_HEADER_BYTES or data[0] >> 6 != 2 or data[1] & 0x7F != OPUS_PAYLOAD_TYPE:
            return
        sequence, _, ssrc = struct.unpack_from('>HII', data, 2)
        stream = self._streams.setdefault(ssrc, Stream())
        stream.packet(sequence, self._listening)
        if self._listening:
            self._decode(stream, voice, data)

    def listen(self) -> None:
        self._listening = True
        self._streams = {
            ssrc: stream for ssrc, stream in self._streams.items() if stream.silent_s() < STREAM_REMEMBERED_S
        }
        for stream in self._streams.values():
            stream.reset()

    def take_window(self) -> list[dict]:
        """What the interval brought; the sound is still to be looked at, by `with_tones`."""
        self._listening = False
        return [
            {'ssrc': ssrc, 'user': self.users.get(ssrc), **stream.take_window()}
            for ssrc, stream in sorted(self._streams.items())
        ]

    def _decode(self, stream: 'Stream', voice: discord.VoiceClient, data: bytes) -> None:
        try:
            stream.decode(decrypt(voice.mode, bytes(voice.secret_key), data))
        except (nacl.exceptions.CryptoError, discord.opus.OpusError, ValueError) as why:
            emit('error', message=f'cannot receive: {why!r}')


class Stream:
    """One stream over one interval of listening."""

    def __init__(self) -> None:
        self._decoder = discord.opus.Decoder()
        # Sequence numbers, extended over the wrap at 2^16.
        self._numbers: set[int] = set()
        self._highest: int | None = None
        # All its numbers since it was first heard.
        self._ever: set[int] = set()
        self._last_packet = time.monotonic()
        self._longest_gap = 0.0
        self._stereo = array('h')

    def packet(self, sequence: int, listening: bool) -> None:
        now = time.monotonic()
        number = self._extend(sequence)
        self._ever.add(number)
        if listening:
            if self._numbers:
                self._longest_gap = max(self._longest_gap, now - self._last_packet)
            self._numbers.add(number)
        self._last_packet = now

    def decode(self, opus: bytes) -> None:
        self._stereo.frombytes(self._decoder.decode(opus, fec=False))

    def silent_s(self) -> float:
        return time.monotonic() - self._last_packet

    def reset(self) -> None:
        self._numbers = set()
        self._longest_gap = 0.0
        self._stereo = array('h')

    def take_window(self) -> dict:
        stereo, self._stereo = self._stereo, array('h')
        first, last = min(self._numbers, default=None), max(self._numbers, default=None)
        return {
            'packets': len(self._numbers),
            'lost': missing(self._numbers),
            'seq_first': None if first is None else first & 0xFFFF,
            'seq_last': None if last is None else last & 0xFFFF,
            'stereo': stereo,
            'longest_gap_ms': round(self._longest_gap * 1_000),
            'last_packet_at_ms': self._last_packet * 1_000,
            'lost_ever': missing(self._ever),
        }

    def _extend(self, sequence: int) -> int:
        """Extends a sequence number by its distance, at most half a circle, from the highest one so far."""
        if self._highest is None:
            self._highest = sequence
        distance = (sequence - self._highest + 0x8000) % 0x10000 - 0x8000
        number = self._highest + distance
        self._highest = max(self._highest, number)
        return number


def missing(numbers: set[int]) -> int:
    """How many numbers between the lowest and the highest are not there."""
    return max(numbers) - min(numbers) + 1 - len(numbers) if numbers else 0


def with_tones(streams: list[dict]) -> list[dict]:
    """Slow: replaces the sound of each stream by what is in it."""
    return [
        {**rest, 'peaks_hz': peaks_hz(stereo), 'rms': rms(stereo)}
        for stream in streams
        for stereo, rest in [(stream['stereo'], {name: stream[name] for name in stream if name != 'stereo'})]
    ]


def decrypt(mode: str, key: bytes, packet: bytes) -> bytes:
    """The Opus payload of one RTP packet.

    The header, with an extension's first four bytes, is in clear and authenticated; the extension's body is not.
    """
    if mode != MODE:
        raise ValueError(f'this bot cannot receive {mode}')
    extended = packet[0] & 0x10
    header_bytes = RTP_HEADER_BYTES + 4 * (packet[0] & 0x0F) + (4 if extended else 0)
    nonce = packet[-NONCE_SUFFIX_BYTES:].ljust(nacl.bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, b'\0')
    plain = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
        packet[header_bytes:-NONCE_SUFFIX_BYTES], packet[:header_bytes], nonce, key
    )
    if packet[0] & 0x20:
        plain = plain[: -plain[-1]]
    extension_bytes = 4 * struct.unpack_from('>H', packet, header_bytes - 2)[0] if extended else 0
    return plain[extension_bytes:]
