#!/usr/bin/env python3
"""Writes vectors/srtp/<profile>.txt: packets of every SRTP profile, sealed by libsrtp (package `pylibsrtp`).

Laid out as by make_vectors.py. `material` is what a DTLS handshake would export, `from` says whose packet it is, `index` is
the number that the packet was sealed with: of RTP with its rollovers, of RTCP the one that libsrtp counted.
"""

import hashlib
import pathlib
import struct

from pylibsrtp import Policy, Session

ROOT = pathlib.Path(__file__).resolve().parent.parent / "vectors" / "srtp"

# name: libsrtp's number, length of a key, length of a salt
PROFILES = {
    "SRTP_AEAD_AES_256_GCM": (Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 32, 12),
    "SRTP_AEAD_AES_128_GCM": (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12),
    "SRTP_AES128_CM_SHA1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14),
}

CSRCS = struct.pack(">II", 0x11111111, 0x22222222)
EXTENSION = struct.pack(">HH", 0xBEDE, 2) + bytes([0x10, 0x7F, 0x32, 1, 2, 3, 0, 0])


def noise(name, length):
    return hashlib.shake_256(name.encode()).digest(length)


def rtp(first, seq, tail, ssrc=0x0A0B0C0D):
    return struct.pack(">BBHII", first, 111, seq, 960 * seq & 0xFFFFFFFF, ssrc) + tail


def report(tail=b"", ssrc=0x0A0B0C0D):
    return struct.pack(">BBHI", 0x80, 201, 1 + len(tail) // 4, ssrc) + tail


# One session seals all of them in this order; the numbers roll over twice, and one packet comes late.
PACKETS = [
    ("speech", "rtp", rtp(0x80, 1, noise("speech", 120)), 1),
    ("silence", "rtp", rtp(0x80, 2, b"\xf8\xff\xfe"), 2),
    ("empty", "rtp", rtp(0x80, 30000, b""), 30000),
    ("extension", "rtp", rtp(0x90, 60000, EXTENSION + noise("extension", 61)), 60000),
    ("before-rollover", "rtp", rtp(0x80, 65535, noise("before", 50)), 65535),
    ("rollover", "rtp", rtp(0x80, 0, noise("rollover", 50)), 0x10000),
    ("late", "rtp", rtp(0x80, 65534, noise("late", 50)), 65534),
    ("csrcs", "rtp", rtp(0x82, 5, CSRCS + noise("csrcs", 33)), 0x10005),
    (
        "csrcs-extension-padding",
        "rtp",
        rtp(0xB2, 32000, CSRCS + EXTENSION + noise("all", 17) + b"\0\0\0\4"),
        0x10000 + 32000,
    ),
    ("other-stream", "rtp", rtp(0x80, 32000, noise("other", 50), ssrc=0x01020304), 32000),
    ("far", "rtp", rtp(0x80, 64000, noise("far", 5)), 0x10000 + 64000),
    ("second-rollover", "rtp", rtp(0x80, 100, noise("video", 1160)), 0x20000 + 100),
    ("rtcp-empty", "rtcp", report(), 1),
    ("rtcp-report", "rtcp", report(noise("report", 24)), 2),
    ("rtcp-compound", "rtcp", report() + struct.pack(">BBHII", 0x81, 206, 2, 1, 2), 3),
    ("rtcp-other-source", "rtcp", report(ssrc=0x01020304), 1),
]


def vectors(profile):
    number, key_len, salt_len = PROFILES[profile]
    parts = {
        side: (noise(f"{profile} {side} key", key_len), noise(f"{profile} {side} salt", salt_len))
        for side in ("client", "server")
    }
    material = b"".join(parts[side][part] for part in (0, 1) for side in ("client", "server"))
    for side, (key, salt) in parts.items():
        session = Session(Policy(key + salt, Policy.SSRC_ANY_OUTBOUND, 0, number))
        for name, kind, packet, index in PACKETS:
            sealed = session.protect(packet) if kind == "rtp" else session.protect_rtcp(packet)
            yield {
                "name": name.encode(),
                "kind": kind.encode(),
                "from": side.encode(),
                "material": material,
                "index": struct.pack(">Q", index),
                "plain": packet,
                "sealed": sealed,
            }


for profile in PROFILES:
    ROOT.mkdir(parents=True, exist_ok=True)
    text = f"# Made by scripts/make_srtp_vectors.py: {profile}\n"
    for fields in vectors(profile):
        text += "\n" + "".join(f"{name}={value.hex()}\n" for name, value in fields.items())
    (ROOT / f"{profile}.txt").write_text(text)
