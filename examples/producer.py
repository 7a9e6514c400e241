#!/usr/bin/env python3
"""A producer: sends simulated latencies to a relay every two seconds. docs/ingest.md specifies the format.

Usage: producer.py [APP [HOST [PORT]]]
"""
import random
import socket
import struct
import sys
import time

PERIOD_NS = 2_000_000_000


def string(data):
    data = data.encode() if isinstance(data, str) else data
    return struct.pack(">I", len(data)) + data


def metrics(app, worker, name, durations_ns, end_ns):
    bins = [0] * 65
    for ns in durations_ns:
        bins[ns.bit_length()] += 1
    data = struct.pack(">I", 0) + string(name) + string("computation") + string(worker) + string("main pipeline")
    data += struct.pack(">H", 1) + struct.pack(">65Q", *bins)
    data += struct.pack(">4Q", min(durations_ns), max(durations_ns), PERIOD_NS, end_ns)
    return string(b"\x03" + string("metrics") + string("metrics:" + app) + string(data))


def main(app="Example", host="127.0.0.1", port="5001"):
    with socket.create_connection((host, int(port))) as relay:
        relay.sendall(string(b"\x01"))
        relay.sendall(string(b"\x02" + string("metrics:" + app) + string("worker 1")))
        while True:
            time.sleep(PERIOD_NS / 1e9)
            durations_ns = [int(random.lognormvariate(13, 1)) for _ in range(1000)]
            relay.sendall(metrics(app, "worker 1", "parse", durations_ns, time.time_ns()))


if __name__ == "__main__":
    main(*sys.argv[1:])
