#!/usr/bin/env python3
"""A producer that loses nothing while the relay restarts. docs/emit-protocol.md specifies the protocol.

Usage: emit.py [APP [HOST [PORT]]]
"""
import math
import os
import random
import socket
import sys
import time

PERIOD_NS = 1_000_000_000
BUFFERED_MAX = 1000  # periods; beyond it, the oldest one is dropped


def varint(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def string(text):
    return varint(len(text)) + (text.encode() if isinstance(text, str) else text)


def frame(body):
    return len(body).to_bytes(4, "little") + body


def lower_bound(index):  # 2^((index - 1) / 8), rounded up
    root = math.isqrt(math.isqrt(math.isqrt(1 << (index - 1))))
    return root + (root**8 < 1 << (index - 1))


def histogram(durations_ns):  # scale 3 in ns, with a sum; no duration is 0
    bins = [(ns**8).bit_length() for ns in durations_ns]
    first, last, zeros = min(bins), max(bins), 0
    data = b"\xc3" + varint(first) + varint(last - first + 1)
    for count in map(bins.count, range(first, last + 1)):
        if count:
            data += (b"\0" + varint(zeros - 1) if zeros else b"") + varint(count)
        zeros = 0 if count else zeros + 1
    data += varint(sum(durations_ns)) + varint(2 * (min(durations_ns) - lower_bound(first)))
    return data + varint(2 * (max(durations_ns) - lower_bound(last)))


def reply(replies):  # its type and its first number
    body = replies.read(int.from_bytes(replies.read(4), "little"))
    if body[:1] in (b"", b"\1"):
        raise OSError(f"the relay has closed or refused the connection {body[2:].decode()}")
    end = next(at for at, byte in enumerate(body) if at > 0 and byte < 128)
    return body[0], sum((byte & 127) << 7 * at for at, byte in enumerate(body[1 : end + 1]))


def main(app="Example", host="127.0.0.1", port="5001"):
    hello = b"\0" + os.urandom(16) + string(app) + string("instance 1") + b"\0\0"
    series = b"\1\0\0" + string("start-to-end") + string("GET /") + string("GET /") + b"\0\0\1"
    relay, seq, unacknowledged = None, 0, {}
    while True:
        time.sleep(PERIOD_NS / 1e9)
        seq += 1
        entries = b"\0" + histogram([int(random.lognormvariate(16, 1)) + 1 for _ in range(1000)])
        data = b"\2" + varint(seq) + varint(PERIOD_NS) + varint(time.time_ns()) + string(entries)
        unacknowledged[seq] = unsent = frame(data)
        if len(unacknowledged) > BUFFERED_MAX:
            print("dropped", unacknowledged.pop(min(unacknowledged)) and seq - BUFFERED_MAX, file=sys.stderr)
        try:
            if relay is None:
                relay = socket.create_connection((host, int(port)), timeout=10)
                replies = relay.makefile("rb")
                relay.sendall(b"JOEY\1" + frame(hello))
                arrived = reply(replies)[1]
                unacknowledged = {seq: data for seq, data in unacknowledged.items() if seq > arrived}
                unsent = frame(series) + b"".join(unacknowledged.values())
            relay.sendall(unsent)
            while unacknowledged:
                kind, arrived = reply(replies)
                if kind == 2:
                    unacknowledged = {seq: data for seq, data in unacknowledged.items() if seq > arrived}
        except OSError as error:
            print(error, file=sys.stderr)
            relay = None


if __name__ == "__main__":
    main(*sys.argv[1:])
