#!/usr/bin/env python3
"""Writes the fuzz corpus of src/fuzz.rs: each file is a little programme in the bytes that `fuzz_shard` reads.

Run it in the crate's folder after changing an instruction there."""

from pathlib import Path


def raw(source, data):
    return bytes([0, source, len(data)]) + data


def speak(leg, seq, source=None, version=1, payload=b"voice"):
    return bytes([1, leg, version, leg if source is None else source]) + seq.to_bytes(2, "big") + bytes([len(payload)]) + payload


def put(leg, room=0, flags=3, version=1):
    return bytes([2, leg, room, flags, version])


def remove(leg):
    return bytes([3, leg])


def snapshot(mask):
    return bytes([4, mask])


def discover(leg, source):
    return bytes([5, leg, source])


def wait(ms):
    return bytes([6, ms // 4])


def talk(leg, first, count):
    return b"".join(speak(leg, first + n) + wait(20) for n in range(count))


SILENCE = b"\xf8\xff\xfe"
joined = b"".join(put(leg) for leg in range(6)) + b"".join(speak(leg, 1) for leg in range(6))

programmes = {
    "talk": joined + talk(0, 2, 5) + talk(1, 100, 5),
    "mute-mid-word": joined + talk(0, 2, 3) + put(0, flags=2) + talk(0, 5, 8) + put(0) + talk(0, 13, 3),
    "unmute-amid-silence": joined + talk(0, 2, 3) + put(0, flags=2) + wait(48) + put(0) + talk(0, 5, 3),
    "deafen": joined + talk(0, 2, 2) + put(1, flags=1) + talk(0, 4, 5) + put(1) + talk(0, 9, 2),
    "leave-and-return": joined + talk(0, 2, 2) + remove(0) + speak(0, 4) + put(0, version=2) + speak(0, 60000, version=2),
    "new-key": joined + put(2, version=0) + speak(2, 9, version=1) + speak(2, 9, version=0),
    "stream-changes-hands": put(4) + speak(4, 1) + put(5) + speak(5, 1) + speak(4, 2) + put(4) + speak(4, 3),
    "rooms": joined + put(0, room=1) + put(1, room=1) + talk(0, 2, 2) + snapshot(0b10101) + talk(0, 4, 2) + snapshot(0),
    "addresses": joined + wait(800) + speak(0, 2, source=7) + wait(800) + speak(1, 2, source=7) + speak(1, 3, source=0),
    "claims": put(0, flags=7) + discover(0, 1) + discover(0, 2) + put(0, version=1) + discover(0, 1) + wait(400) + put(0, version=4),
    "too-fast": joined + b"".join(speak(3, n) for n in range(2, 60)),
    "loss-and-order": joined + b"".join(speak(0, n) for n in (3, 9, 8, 700, 2, 65000, 8)),
    "silence-frames": joined + talk(0, 2, 2) + b"".join(speak(0, 4 + n, payload=SILENCE) for n in range(6)) + wait(300),
    "strangers": joined + raw(7, b"") + raw(7, b"\x80\x78" + bytes(60)) + raw(0, b"\x80\xc9" + bytes(26)) + raw(7, bytes(74)),
    "pings": joined + raw(0, bytes.fromhex("1337cafe00000001")) + raw(7, bytes.fromhex("1337cafe00000001")) + raw(0, b"\0\0\3\xe8"),
    "other-protocols": raw(7, bytes.fromhex("000100002112a442") + bytes(12)) + raw(7, b"\x16\xfe\xfd" + bytes(40)),
    "paths": joined + wait(300) + wait(1000) * 6 + put(0, flags=7) + wait(1000) * 6,
}

folder = Path("corpus/shard")
for name, programme in programmes.items():
    (folder / name).write_bytes(programme)
