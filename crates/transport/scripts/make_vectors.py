#!/usr/bin/env python3
"""Writes vectors/<mode>.txt: packets of every encryption mode, made without any of this crate's code.

AES-GCM comes from OpenSSL (package `cryptography`), the others from libsodium (package `PyNaCl`). Each line of a vector is
`field=hex`; vectors are separated by empty lines. Everything is derived from a hash of the vector's name, so that
running this again changes nothing.
"""

import hashlib
import pathlib
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt, crypto_secretbox

ROOT = pathlib.Path(__file__).resolve().parent.parent / "vectors"


def noise(name, length):
    return hashlib.shake_256(name.encode()).digest(length)


def gcm(key, nonce, header, plain):
    return AESGCM(key).encrypt(nonce[:12], plain, header)


def xchacha(key, nonce, header, plain):
    return crypto_aead_xchacha20poly1305_ietf_encrypt(plain, header, nonce, key)


def secretbox(key, nonce, _header, plain):
    return crypto_secretbox(plain, nonce, key)


# name: cipher, whether the readable header follows the size of the RTP header, nonce
MODES = {
    "aead_aes256_gcm_rtpsize": (gcm, True, "counter"),
    "aead_xchacha20_poly1305_rtpsize": (xchacha, True, "counter"),
    "xsalsa20_poly1305_lite_rtpsize": (secretbox, True, "counter"),
    "xsalsa20_poly1305_lite": (secretbox, False, "counter"),
    "xsalsa20_poly1305_suffix": (secretbox, False, "long"),
    "xsalsa20_poly1305": (secretbox, False, "header"),
    "aead_aes256_gcm": (gcm, False, "counter"),
}

CSRCS = struct.pack(">II", 0x11111111, 0x22222222)
PREAMBLE = struct.pack(">HH", 0xBEDE, 2)
EXTENSION = bytes([0x10, 0x7F, 0x32, 1, 2, 3, 0, 0])


def rtp(first, seq, tail):
    return struct.pack(">BBHII", first, 120, seq, 960 * seq, 0x0A0B0C0D) + tail


# name: what kind, the packet, how many bytes of it an rtpsize mode leaves readable
PACKETS = {
    "speech": ("rtp", rtp(0x80, 1, noise("speech", 120)), 12),
    "silence": ("rtp", rtp(0x80, 2, b"\xf8\xff\xfe"), 12),
    "empty": ("rtp", rtp(0x80, 3, b""), 12),
    "extension": ("rtp", rtp(0x90, 4, PREAMBLE + EXTENSION + noise("extension", 61)), 16),
    "csrcs": ("rtp", rtp(0x82, 5, CSRCS + noise("csrcs", 33)), 20),
    "csrcs-extension-padding": (
        "rtp",
        rtp(0xB2, 65535, CSRCS + PREAMBLE + EXTENSION + noise("all", 17) + b"\0\0\0\4"),
        24,
    ),
    "video": ("rtp", rtp(0x80, 0, noise("video", 1160)), 12),
    "rtcp-empty": ("rtcp", struct.pack(">BBHI", 0x80, 201, 1, 0x0A0B0C0D), 8),
    "rtcp-report": ("rtcp", struct.pack(">BBHI", 0x81, 201, 7, 0x0A0B0C0D) + noise("report", 24), 8),
    "rtcp-compound": (
        "rtcp",
        struct.pack(">BBHI", 0x80, 201, 1, 0x0A0B0C0D) + struct.pack(">BBHII", 0x81, 206, 2, 1, 2),
        8,
    ),
}

COUNTERS = [0, 1, 0x01020304, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def vectors(mode):
    cipher, rtpsize, source = MODES[mode]
    for at, (name, (kind, packet, clear)) in enumerate(PACKETS.items()):
        if source == "header" and kind == "rtcp" and len(packet) > 8:
            # Those nonces would repeat; the mode seals no such packet.
            continue
        if kind == "rtp" and not rtpsize:
            clear = 12
        key = noise(f"{mode} {name} key", 32)
        header, plain = packet[:clear], packet[clear:]
        fields = {"name": name.encode(), "kind": kind.encode(), "key": key, "plain": packet}
        if source == "counter":
            suffix = struct.pack(">I", COUNTERS[at % len(COUNTERS)])
            fields["counter"] = suffix
        elif source == "long":
            # The salt of the session and the number of the packet.
            suffix = noise(f"{mode} {name} salt", 16) + struct.pack(">Q", 0)
            fields["salt"] = suffix[:16]
        else:
            suffix = b""
        nonce = (suffix or header).ljust(24, b"\0")
        fields["sealed"] = header + cipher(key, nonce, header, plain) + suffix
        yield fields


for mode in MODES:
    ROOT.mkdir(exist_ok=True)
    text = f"# Made by scripts/make_vectors.py: {mode}\n"
    for fields in vectors(mode):
        text += "\n" + "".join(f"{name}={value.hex()}\n" for name, value in fields.items())
    (ROOT / f"{mode}.txt").write_text(text)
