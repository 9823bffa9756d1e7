"""Floods a UDP port, and writes down what comes there, from the network namespace that it is started in.

    flood.py random IP PORT RATE          datagrams of random bytes
    flood.py replay IP PORT RATE FILE     those written down, by turns from the address that each came from first and from our own
    flood.py capture IP PORT COUNT FILE   writes down so many of those that come to this port, and ends

A line of JSON says that it has begun, or is done. RATE is datagrams a second. Owns no judgement: what becomes of them is the test's business.
"""

import json
import os
import random
import socket
import struct
import sys
import time

ETH_P_IP = 0x0800
OUTGOING = socket.PACKET_OUTGOING
UDP_HEADER = 8
# Sent in one go, and then waited for.
TICK_S = 0.005


def say(event):
    print(json.dumps({"event": event}), flush=True)


def at_rate(rate, send):
    """Whoever starts this ends it."""
    say("flooding")
    began, sent = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - began) * rate)
        while sent < due:
            send()
            sent += 1
        time.sleep(TICK_S)


def flood_random(target, rate):
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(16)]
    bytes_of_all = os.urandom(1 << 16)

    def send():
        start, length = random.randrange(len(bytes_of_all) - 256), random.randrange(12, 256)
        random.choice(sockets).sendto(bytes_of_all[start : start + length], target)

    at_rate(rate, send)


def flood_again(target, rate, file):
    """Written down are whole IP packets, each after its length."""
    packets = []
    with open(file, "rb") as written:
        while length := written.read(2):
            packets.append(written.read(struct.unpack(">H", length)[0]))
    as_it_was = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    our_own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    turn = 0

    def send():
        nonlocal turn
        packet = packets[turn // 2 % len(packets)]
        if turn % 2:
            our_own.sendto(packet[header_bytes(packet) + UDP_HEADER :], target)
        else:
            as_it_was.sendto(packet, target)
        turn += 1

    at_rate(rate, send)


def header_bytes(packet):
    return (packet[0] & 0x0F) * 4


def capture(target, count, file):
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
    address = socket.inet_aton(target[0])
    with open(file, "wb") as written:
        while count:
            packet, (_, _, kind, *_) = tap.recvfrom(1 << 16)
            header = header_bytes(packet)
            if kind == OUTGOING or packet[9] != socket.IPPROTO_UDP or packet[16:20] != address:
                continue
            _, port, length = struct.unpack_from(">HHH", packet, header)
            if port != target[1]:
                continue
            # Between namespaces nobody has reckoned the checksum yet; without one it passes.
            packet = bytearray(packet[: header + length])
            packet[header + 6 : header + 8] = b"\0\0"
            written.write(struct.pack(">H", len(packet)) + packet)
            count -= 1
    say("captured")


def main():
    what, ip, port, number = sys.argv[1:5]
    target = (ip, int(port))
    match what:
        case "random":
            flood_random(target, int(number))
        case "replay":
            flood_again(target, int(number), sys.argv[5])
        case "capture":
            capture(target, int(number), sys.argv[5])


main()
