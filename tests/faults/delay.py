"""Holds every packet that is routed into the device `delay` for some time, and sends it on. For the fault laboratory.

    python3 tests/faults/delay.py MILLISECONDS

Makes the device, prints a line when it is up, and ends when its standard input closes; the device goes with it. Packets
keep their order. The kernel has no netem everywhere, and this is enough for some thousand packets a second.
"""

import collections
import fcntl
import os
import select
import struct
import subprocess
import sys
import time

NAME = "delay"
# From linux/if_tun.h: attach to a device; packets, not frames; nothing in front of them.
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
PACKET_BYTES = 65536


def main() -> int:
    delay = int(sys.argv[1]) / 1000
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", NAME.encode(), IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "link", "set", NAME, "up", "txqueuelen", "10000"], check=True)
    print("ready", flush=True)
    held = collections.deque()
    while True:
        pause = max(0, held[0][0] - time.monotonic()) if held else None
        readable, _, _ = select.select([tun, sys.stdin], [], [], pause)
        if sys.stdin in readable:
            return 0
        if tun in readable:
            try:
                while True:
                    held.append((time.monotonic() + delay, os.read(tun, PACKET_BYTES)))
            except BlockingIOError:
                pass
        while held and held[0][0] <= time.monotonic():
            os.write(tun, held.popleft()[1])


if __name__ == "__main__":
    sys.exit(main())
