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


OPUS, RED, OTHER = 0, 1, 2
KEYS, NEW, ARRIVED = 4, 8, 16


def browser(which, room=0, flags=3 | KEYS | ARRIVED):
    return bytes([9, which, room, flags])


def frame(which, seq, payload_type=OPUS, payload=b"voice", name=None):
    kind = payload_type + 3 * (which if name is None else name)
    return bytes([7, which, kind]) + seq.to_bytes(2, "big") + bytes([len(payload)]) + payload


def rtcp(which, plain):
    return bytes([8, which, len(plain)]) + plain


def report(ssrc, lost, sender=2000):
    return bytes([0x81, 201, 0, 7]) + sender.to_bytes(4, "big") + ssrc.to_bytes(4, "big") + bytes([lost]) + bytes(19)


def nack(ssrc, first, mask=0):
    return bytes([0x81, 205, 0, 3]) + bytes(4) + ssrc.to_bytes(4, "big") + first.to_bytes(2, "big") + mask.to_bytes(2, "big")


def pair(earlier, own):
    return bytes([0x80 | 111, 960 >> 6, (960 & 63) << 2 | len(earlier) >> 8, len(earlier) & 255, 111]) + earlier + own


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

met = joined + browser(0) + browser(1)
lossy = rtcp(0, report(1000, 50)) * 2
programmes |= {
    "browsers": met + frame(0, 5) + frame(1, 5) + speak(0, 2) + frame(0, 6) + wait(1000) * 4 + browser(0, room=1) + frame(0, 7) + browser(1, flags=2 | KEYS),
    "browser-keys-late": joined + browser(0, flags=3) + frame(0, 1) + browser(0, flags=3 | ARRIVED) + frame(0, 1) + browser(0, flags=3 | KEYS) + frame(0, 1) + speak(0, 2),
    "browser-new-transport": met + talk(0, 2, 3) + browser(0, flags=3 | KEYS | NEW | ARRIVED) + talk(0, 5, 3) + frame(0, 9),
    "browser-names": met + b"".join(frame(0, 100 + n, name=n % 3) for n in range(9)) + frame(1, 100, name=0),
    "nacks": met + talk(0, 2, 6) + rtcp(0, nack(1000, 3, 0xFFFF)) + wait(20) + rtcp(0, nack(1000, 3)) + rtcp(1, nack(2000, 1, 7)) + rtcp(0, nack(9, 1)),
    "nacks-after-absence": met + talk(0, 2, 6) + browser(0, flags=1 | KEYS) + talk(0, 8, 6) + browser(0) + talk(0, 14, 2) + rtcp(0, nack(1000, 1, 0xFFFF)) + browser(0, room=1) + browser(0) + talk(0, 16, 2) + rtcp(0, nack(1000, 1, 0xFFFF)),
    "nacks-after-return": met + talk(0, 30, 6) + remove(0) + put(0, version=2) + speak(0, 20, version=2) + speak(0, 21, version=2) + rtcp(0, nack(1000, 21, 0xFFFF)) + rtcp(0, nack(1000, 32, 0xFFFF)),
    "redundancy-down": met + lossy + talk(0, 2, 3) + rtcp(0, nack(1000, 3)) + rtcp(0, report(1000, 0)) * 3 + talk(0, 5, 3) + rtcp(0, nack(1000, 4, 7)),
    "redundancy-up": met + frame(0, 5) + frame(0, 7, RED, pair(b"six", b"seven")) + frame(0, 6) + frame(0, 9, RED, pair(b"", b"nine")) + frame(0, 12, RED, b"\xef\x0f"),
    "losses-up": met + b"".join(frame(1, n) + wait(20) for n in (5, 7, 8, 30, 29, 31, 6, 900, 3)),
    "garbage-from-browsers": met + raw(8, b"\x16\xfe\xfd" + bytes(40)) * 50 + raw(8, b"\x16\xfe\xfd" + bytes(5)) + raw(9, b"\x3f" + bytes(60)) + raw(8, bytes.fromhex("000100002112a442") + bytes(12))
    + raw(8, bytes.fromhex("000100082112a442") + bytes(12) + b"\0\6\0\4a:bc") + raw(8, bytes.fromhex("1337cafe00000001")) + raw(9, bytes.fromhex("000100462112a442") + bytes(66)) + raw(9, b"\x80\x6f" + bytes(60)) + frame(0, 3),
    "reports": met + rtcp(0, report(1000, 255) + b"\x80\xc8\0\6" + bytes(24)) + rtcp(0, b"\x80\xcb\0\1" + bytes(4)) + rtcp(0, b"\x9f\xc9\xff\xff") + rtcp(1, bytes(7)),
}

folder = Path("corpus/shard")
for name, programme in programmes.items():
    (folder / name).write_bytes(programme)
