"""Joins its standard input and output to a TCP port of this machine's loopback.

QEMU runs it for each connection that the guest makes to the proxy (``guestfwd=...-cmd:``), with a
socket as its input and output, and never anything else: a guest reaches that one port. It is run as
a script with ``-I -S``, imports as little as can be, and so is up in 10 ms.
"""

from __future__ import annotations

import os
import socket
import sys
import threading

CHUNK = 1 << 18


def main(port: int) -> None:
    """Until both sides have said all."""
    with socket.create_connection(("127.0.0.1", port)) as proxy:
        # Packets of the guest come small and often; none may wait for the next.
        proxy.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        inward = threading.Thread(target=_from_guest, args=(proxy,), daemon=True)
        inward.start()
        _to_guest(proxy)


def _from_guest(proxy: socket.socket) -> None:
    try:
        while data := os.read(0, CHUNK):
            proxy.sendall(data)
        proxy.shutdown(socket.SHUT_WR)
    except OSError:  # either side is gone
        os._exit(0)


def _to_guest(proxy: socket.socket) -> None:
    try:
        while data := proxy.recv(CHUNK):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(1, rest) :]
    except OSError:
        os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
