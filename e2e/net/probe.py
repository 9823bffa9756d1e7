#!/usr/bin/env python3
"""Numbered datagrams over a path, to see what it does to them.

    probe.py receive ADDRESS    prints {"event":"ready","port":N}, then, for each line of standard input, {"event":"received"} with
                                what came since the last one: [number, milliseconds on the way] in order of arrival
    probe.py send ADDRESS PORT COUNT EVERY_MS
"""

import json
import select
import socket
import struct
import sys
import time

FORMAT = struct.Struct('>Id')


def say(**event):
    print(json.dumps(event), flush=True)


def receive(address):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 0))
    say(event='ready', port=sock.getsockname()[1])
    packets = []
    while True:
        readable, _, _ = select.select([sock, sys.stdin], [], [])
        if sock in readable:
            number, sent = FORMAT.unpack(sock.recv(64))
            # Both ends are processes of one machine, whose clock this is.
            packets.append([number, (time.monotonic() - sent) * 1_000])
        elif not sys.stdin.readline():
            return
        else:
            say(event='received', packets=packets)
            packets = []


def send(address, port, count, every):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began + number * every - time.monotonic()))
        sock.sendto(FORMAT.pack(number, time.monotonic()), (address, port))


if __name__ == '__main__':
    if sys.argv[1] == 'receive':
        receive(sys.argv[2])
    else:
        send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]) / 1_000)
