"""Nodes of a DHT that answer every look-up with invented addresses. For the NAT laboratory.

    python3 tests/nat/poison.py ADDRESS VICTIM

Of 10,000 addresses a third is private, loopback or otherwise nobody's, a tenth is the victim's with other ports, the rest is
strewn over the internet. Prints one line of JSON, {"nodes": ["ADDRESS:PORT", ...]}, and ends when its standard input closes.
"""

import json
import os
import random
import selectors
import socket
import struct
import sys

NODES = 64
ADDRESSES = 10_000
# As many as go into one packet of 1,500 bytes beside the rest of an answer.
VALUES_PER_ANSWER = 120
NODES_PER_ANSWER = 8
PACKET_BYTES = 2048
NOBODY = ["10.{}.{}.{}", "192.168.{1}.{2}", "127.{}.{}.{}", "172.16.{1}.{2}", "100.64.{1}.{2}", "169.254.{1}.{2}",
          "0.{}.{}.{}", "224.{}.{}.{}", "255.{}.{}.{}", "192.0.2.{2}"]


def bencode(value) -> bytes:
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"


def bdecode(data: bytes, at: int = 0):
    """A value and where it ends."""
    kind = data[at:at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1:end]), end + 1
    if kind in (b"l", b"d"):
        items, at = [], at + 1
        while data[at:at + 1] != b"e":
            item, at = bdecode(data, at)
            items.append(item)
        return (items if kind == b"l" else dict(zip(items[::2], items[1::2]))), at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    return data[colon + 1:end], end


def compact(address: str, port: int) -> bytes:
    return socket.inet_aton(address) + struct.pack("!H", port)


def invented(victim: str) -> list[bytes]:
    found = []
    for number in range(ADDRESSES):
        octets = [random.randint(1, 254) for _ in range(3)]
        port = random.randint(1024, 65535)
        if number % 10 == 0:
            found.append(compact(victim, port))
        elif number % 3 == 0:
            found.append(compact(random.choice(NOBODY).format(*octets), port))
        else:
            found.append(compact(f"{random.randint(20, 90)}.{octets[0]}.{octets[1]}.{octets[2]}", port))
    return found


def main() -> int:
    address, victim = sys.argv[1:3]
    values, selector, nodes = invented(victim), selectors.DefaultSelector(), []
    for _ in range(NODES):
        node = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        node.bind((address, 0))
        own = os.urandom(20)
        selector.register(node, selectors.EVENT_READ, own)
        nodes.append(own + compact(*node.getsockname()))
    selector.register(sys.stdin, selectors.EVENT_READ)
    ports = [struct.unpack("!H", node[-2:])[0] for node in nodes]
    print(json.dumps({"nodes": [f"{address}:{port}" for port in ports[:8]]}), flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                return 0
            data, sender = key.fileobj.recvfrom(PACKET_BYTES)
            try:
                question, _ = bdecode(data)
                kind, transaction = question[b"q"], question[b"t"]
            except (ValueError, KeyError, IndexError, TypeError):
                continue
            answer = {b"id": key.data, b"nodes": b"".join(random.sample(nodes, NODES_PER_ANSWER))}
            if kind == b"get_peers":
                answer |= {b"token": b"token", b"values": random.sample(values, VALUES_PER_ANSWER)}
            message = {b"t": transaction, b"y": b"r", b"r": answer, b"ip": compact(*sender)}
            key.fileobj.sendto(bencode(message), sender)


if __name__ == "__main__":
    sys.exit(main())
