#!/usr/bin/env python3
"""Writes the committed seeds of the fuzz bodies: one file a case, under corpus/<body>/.

Run it from anywhere; it replaces only the files it names, so that inputs found by a fuzzer stay.
"""

import pathlib
import struct

ROOT = pathlib.Path(__file__).resolve().parent.parent / "corpus"


def rtp(first=0x80, second=120, tail=b""):
    return struct.pack(">BBHII", first, second, 0xFFFE, 960, 0x01020304) + tail


def rtcp(count, kind, body):
    assert len(body) % 4 == 0
    return struct.pack(">BBH", 0x80 | count, kind, len(body) // 4) + body


def ssrcs(*values):
    return b"".join(struct.pack(">I", value) for value in values)


def discovery(kind, address=b"", port=0):
    return struct.pack(">HHI", kind, 70, 7) + address.ljust(64, b"\0") + struct.pack(">H", port)


BLOCK = ssrcs(9, 0x80FFFFFF, 3, 4, 5, 6)
INFO = ssrcs(1) + struct.pack(">QIII", 1 << 40, 2, 3, 4)
ONE_BYTE = bytes([0xBE, 0xDE, 0, 2, 0x10, 0x55, 0x22, 1, 2, 3, 0, 0])
TWO_BYTE = bytes([0x10, 0x00, 0, 2, 1, 0, 200, 3, 1, 2, 3, 0])

RTP = {
    "plain": rtp(tail=b"\xf8\xff\xfe"),
    "bare": rtp(),
    "marker": rtp(second=0x80 | 101, tail=b"x" * 40),
    "csrcs": rtp(0x8F, tail=ssrcs(*range(15)) + b"x"),
    "csrcs-cut": rtp(0x8F, tail=ssrcs(*range(14))),
    "one-byte": rtp(0x90, tail=ONE_BYTE + b"x"),
    "two-byte": rtp(0x90, tail=TWO_BYTE + b"x"),
    "extension-cut": rtp(0x90, tail=ONE_BYTE[:9]),
    "extension-huge": rtp(0x90, tail=b"\xbe\xde\xff\xff" + b"x" * 20),
    "everything": rtp(0xB2, tail=ssrcs(1, 2) + ONE_BYTE + b"xyz\0\0\3"),
    "padding-zero": rtp(0xA0, tail=b"x\0"),
    "padding-all": rtp(0xA0, tail=b"\0\0\3"),
    "padding-too-much": rtp(0xA0, tail=b"\0\0\4"),
    "version-1": rtp(0x40, tail=b"x" * 20),
}

RTCP = {
    "receiver-report-empty": rtcp(0, 201, ssrcs(1)),
    "receiver-report": rtcp(2, 201, ssrcs(1) + BLOCK * 2),
    "receiver-report-cut": rtcp(3, 201, ssrcs(1) + BLOCK * 2),
    "sender-report": rtcp(1, 200, INFO + BLOCK),
    "description": rtcp(1, 202, ssrcs(1) + b"\x01\x02me\0\0\0\0"),
    "description-unended": rtcp(1, 202, ssrcs(1) + b"\x01\xffme"),
    "description-two": rtcp(2, 202, ssrcs(1) + b"\x06\x01x\0" + ssrcs(2) + b"\x01\x02me\0\0\0\0"),
    "goodbye": rtcp(2, 203, ssrcs(1, 2) + b"\x03bye"),
    "nack": rtcp(1, 205, ssrcs(1, 2) + b"\xff\xfe\xff\xff\0\1\0\0"),
    "transport-cc": rtcp(15, 205, ssrcs(1, 2) + b"\0\1\0\2\0\0\1\0\x20\2\4\4"),
    "pli": rtcp(1, 206, ssrcs(1, 2)),
    "fir": rtcp(4, 206, ssrcs(1, 0, 2) + b"\7\0\0\0"),
    "remb": rtcp(15, 206, ssrcs(1, 0) + b"REMB\2\xff\xff\xff" + ssrcs(3, 4)),
    "remb-cut": rtcp(15, 206, ssrcs(1, 0) + b"REMB\3\xff\xff\xff" + ssrcs(3, 4)),
    "compound": rtcp(0, 201, ssrcs(1)) + rtcp(1, 206, ssrcs(1, 2)) + rtcp(1, 203, ssrcs(1)),
    "compound-cut": rtcp(0, 201, ssrcs(1)) + b"\x80\xce\0",
    "padded": b"\xa0\xc9\0\2\0\0\0\1\0\0\0\4",
    "padded-badly": b"\xa0\xc9\0\2\0\0\0\1\0\0\0\5",
}

DISCOVERY = {
    "request": discovery(1),
    "response": discovery(2, b"127.0.0.1", 50000),
    "response-v6": discovery(2, b"2001:db8::1", 50000),
    "response-mapped": discovery(2, b"::ffff:10.0.0.1", 50000),
    "response-unended": discovery(2, b"1" * 64),
    "response-not-text": discovery(2, b"\xff\xfe"),
    "request-cut": discovery(1)[:73],
    "ping": b"\x13\x37\xca\xfe\0\0\0\1",
    "pong": b"\x13\x37\xf0\x0d\0\0\0\1",
}

OTHERS = {
    "empty": b"",
    "stun": b"\0\1\0\0\x21\x12\xa4\x42" + b"x" * 12,
    "discovery-that-is-stun": b"\0\1\0\x46\x21\x12\xa4\x42" + b"\0" * 66,
    "dtls": b"\x16\xfe\xfd" + b"\0" * 40,
    "keepalive-4": b"\1\2\3\4",
    "keepalive-8": b"\1\0\0\0\0\0\0\0",
}

CORPORA = {
    "classify": {**RTP, **RTCP, **DISCOVERY, **OTHERS},
    "rtp": RTP,
    "extensions": {
        "one-byte": ONE_BYTE[4:],
        "two-byte": TWO_BYTE[4:],
        "stop": b"\x10\x07\xf0\x01\x20\x08",
        "zero-with-length": b"\x03\1\2\3",
        "cut": b"\x1f\1\2",
        "zeros": b"\0" * 9,
    },
    "rtcp": RTCP,
    "discovery": DISCOVERY,
    "opus": {
        "empty": b"",
        "silence": b"\xf8\xff\xfe",
        "many": b"\xff\x06",
        "too-many": b"\xff\x3f",
        "none": b"\xff\x00",
        "no-count": b"\xff",
        "sixty": b"\x18",
    },
    "seq": {
        "wrap": b"\xff\xfe\xff\xff\0\0\0\1",
        "late": b"\0\0\xff\xff\0\1",
        "jumps": b"\0\0\x7f\xff\xff\xfe\x7f\xfd\0\0\x80\0",
    },
}

for body, cases in CORPORA.items():
    folder = ROOT / body
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in cases.items():
        (folder / name).write_bytes(data)
