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

COOKIE = bytes.fromhex("2112a442")


def stun(kind, *attributes):
    body = b"".join(struct.pack(">HH", at, len(value)) + value + b"\0" * (-len(value) % 4) for at, value in attributes)
    return struct.pack(">HH", kind, len(body)) + COOKIE + b"transaction!" + body


CHECK = [(0x06, b"ours:theirs"), (0x24, b"\x6e\0\x1e\xff"), (0x802A, b"12345678"), (0x25, b"")]
MAC = (0x08, b"m" * 20)

STUN = {
    # RFC 5769 sections 2.1 to 2.3.
    "rfc5769-request": bytes.fromhex(
        "000100582112a442b7e7a701bc34d686fa87dfae"
        "802200105354554e207465737420636c69656e74"
        "002400046e0001ff"
        "80290008932ff9b151263b36"
        "000600096576746a3a68367659202020"
        "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
        "80280004e57a3bcf"
    ),
    "rfc5769-response-v4": bytes.fromhex(
        "0101003c2112a442b7e7a701bc34d686fa87dfae"
        "8022000b7465737420766563746f7220"
        "002000080001a147e112a643"
        "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
        "80280004c07d4c96"
    ),
    "rfc5769-response-v6": bytes.fromhex(
        "010100482112a442b7e7a701bc34d686fa87dfae"
        "8022000b7465737420766563746f7220"
        "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
        "00080014a382954e4be67bf11784c97c8292c275bfe3ed41"
        "80280004c8fb0b4c"
    ),
    "bare": stun(0x0001),
    "indication": stun(0x0011),
    "check": stun(0x0001, *CHECK, MAC),
    "check-with-more": stun(0x0001, *CHECK, MAC, (0x25, b""), MAC, (0x8028, b"\0" * 4)),
    "refusal": stun(0x0111, (0x09, b"\0\0\4\x57Role Conflict"), MAC),
    "unknown": stun(0x0001, *((0x7F00 + at, b"?" * at) for at in range(6)), (0xC057, b"\0\0\0\x0a")),
    "addresses": stun(0x0101, (0x20, b"\0\1\0\0"), (0x01, b"\0\1\0\0\1\2\3\4")),
    "fingerprint-not-last": stun(0x0001, (0x8028, b"\0" * 4), (0x25, b"")),
    "attribute-too-long": stun(0x0001)[:2] + b"\0\4" + COOKIE + b"transaction!" + b"\0\6\xff\xff",
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
    "classify": {**RTP, **RTCP, **DISCOVERY, **OTHERS, "check": STUN["check"]},
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
    "stun": STUN,
    "red": {
        "one": b"\x6f\1\2\3",
        "two": b"\xef\x0f\0\2\x6f\x08\x09\1",
        "three": b"\xef\x1e\0\1\x8d\x0f\0\0\x6f\7\1\2",
        "unended": b"\xff" * 20,
        "too-long": b"\xef\x0f\3\xff\x6f\x08",
    },
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
