#!/usr/bin/env python3
"""A wire between two network interfaces that loses and delays what goes over it.

    wire.py LEFT RIGHT [--seed N]

Whatever arrives at one interface leaves by the other one. Commands come on standard input, one JSON object a line, and each
is answered by the counts, {"event":"counts","left":{...},"right":{...}}; {} asks for nothing else.

    {"towards":"right","loss":0.1,"burst":1,"delay_ms":0,"jitter_ms":100,"keeps_order":false,"blocks_udp":false}

says how the packets that leave by the right interface fare from now on: the share that is lost; how many are lost in a row on average
(1: each one by chance alone, more: Gilbert and Elliott's model whose bad state loses everything); a delay for all; a further
one for each, evenly between nothing and this; whether a packet waits for those before it; and whether UDP is let through at all. What is
left out is nothing.
{"event":"ready"} is printed first and {"event":"ended", and the counts} at the end of standard input or on SIGTERM. The same seed and the same packets lose the same packets.

For machines whose kernel has no netem. Only IPv4 is impaired: a lost address resolution stops a path for a second, which says
nothing of wide networks. Needs CAP_NET_RAW. Packets carry the kernel's own notes on checksums and segments across (PACKET_VNET_HDR),
because between virtual interfaces checksums are never filled in.
"""

import argparse
import heapq
import json
import os
import random
import select
import signal
import socket
import sys
import time

ETH_P_ALL, ETH_P_IP = 3, 0x0800
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
# The kernel's notes stand in front of the Ethernet header, whose type is its bytes 12 and 13.
VNET_HDR_BYTES = 10
# Behind both, in the IPv4 header.
IP_PROTOCOL_AT, IPPROTO_UDP = VNET_HDR_BYTES + 14 + 9, 17
FRAME_BYTES_MAX = 1 << 16
# As many as netem holds unless told otherwise; those that come when it is full are dropped and counted.
QUEUE_PACKETS_MAX = 1_000
# A busy machine has more sockets to read than this one.
RECEIVE_BUFFER_BYTES = 4 << 20


class Direction:
    """What leaves by one interface."""

    def __init__(self, out, seed):
        self.out = out
        self.random = random.Random(seed)
        self.counts = dict.fromkeys(('received', 'lost', 'overflowed', 'sent', 'waiting', 'refused'), 0)
        self.waiting = []
        self.last_due = 0.0
        self.is_bad = False
        self.set({})

    def set(self, spec):
        self.loss = float(spec.get('loss', 0))
        self.burst = max(1.0, float(spec.get('burst', 1)))
        self.delay = float(spec.get('delay_ms', 0)) / 1_000
        self.jitter = float(spec.get('jitter_ms', 0)) / 1_000
        self.keeps_order = bool(spec.get('keeps_order', False))
        self.blocks_udp = bool(spec.get('blocks_udp', False))
        self.is_bad = False

    def loses(self):
        if self.burst == 1:
            return self.random.random() < self.loss
        # The mean stay in the bad state is the burst; the chance to get into it makes the share of losses what was asked for.
        leave = 1 / self.burst
        enter = leave * self.loss / (1 - self.loss) if self.loss < 1 else 1
        self.is_bad = self.random.random() >= leave if self.is_bad else self.random.random() < enter
        return self.is_bad

    def take(self, now, frame):
        self.counts['received'] += 1
        is_ip = int.from_bytes(frame[VNET_HDR_BYTES + 12:VNET_HDR_BYTES + 14], 'big') == ETH_P_IP
        if not is_ip:
            return self.send(frame)
        is_blocked = self.blocks_udp and frame[IP_PROTOCOL_AT] == IPPROTO_UDP
        if is_blocked or self.loses():
            self.counts['lost'] += 1
        elif len(self.waiting) >= QUEUE_PACKETS_MAX:
            self.counts['overflowed'] += 1
        else:
            due = now + self.delay + self.jitter * self.random.random()
            if self.keeps_order:
                due = max(due, self.last_due)
            self.last_due = due
            heapq.heappush(self.waiting, (due, self.counts['received'], frame))

    def release(self, now):
        while self.waiting and self.waiting[0][0] <= now:
            self.send(heapq.heappop(self.waiting)[2])

    def send(self, frame):
        try:
            self.out.send(frame)
            self.counts['sent'] += 1
        except OSError:
            # The other interface is down or its queue is full, as happens to wires.
            self.counts['refused'] += 1

    def totals(self):
        return {**self.counts, 'waiting': len(self.waiting)}


def open_interface(name):
    interface = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    interface.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    interface.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    interface.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    interface.setblocking(False)
    interface.bind((name, ETH_P_ALL))
    return interface


def say(**event):
    print(json.dumps(event), flush=True)


def say_counts(event, towards):
    say(event=event, **{name: direction.totals() for name, direction in towards.items()})


def read_commands(towards, unread):
    """Takes what standard input holds; gives the unfinished rest, or None at its end."""
    text = os.read(0, FRAME_BYTES_MAX)
    if not text:
        return None
    *lines, rest = (unread + text).split(b'\n')
    for line in lines:
        spec = json.loads(line)
        if 'towards' in spec:
            towards[spec['towards']].set(spec)
        say_counts('counts', towards)
    return rest


def carry(left, right, towards):
    to = {left: towards['right'], right: towards['left']}
    unread = b''
    while unread is not None:
        due = min((d.waiting[0][0] for d in to.values() if d.waiting), default=None)
        timeout = None if due is None else max(0.0, due - time.monotonic())
        readable, _, _ = select.select([0, left, right], [], [], timeout)
        for interface in readable:
            if interface == 0:
                unread = read_commands(towards, unread)
                continue
            try:
                while True:
                    to[interface].take(time.monotonic(), interface.recv(FRAME_BYTES_MAX))
            except BlockingIOError:
                pass
        now = time.monotonic()
        for direction in to.values():
            direction.release(now)


def main():
    arguments = argparse.ArgumentParser(description='A wire that loses and delays what goes over it.')
    arguments.add_argument('left')
    arguments.add_argument('right')
    arguments.add_argument('--seed', type=int, default=1)
    options = arguments.parse_args()
    left, right = open_interface(options.left), open_interface(options.right)
    towards = {'left': Direction(left, 2 * options.seed), 'right': Direction(right, 2 * options.seed + 1)}
    # A wire does not wait until a compiler has had its turn.
    os.nice(-10)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    say(event='ready')
    try:
        carry(left, right, towards)
    finally:
        say_counts('ended', towards)


if __name__ == '__main__':
    main()
