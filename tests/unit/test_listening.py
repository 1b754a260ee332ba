"""What listens in a guest, read from its kernel's tables."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from imagectl.adapters.listening import parse
from imagectl.errors import Failed

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"


def line(local: str, state: str, remote: str = "00000000:0000") -> str:
    return f"   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000     0\n"


def answer(tcp: str = "", tcp6: str = "", udp: str = "", udp6: str = "") -> str:
    tables = {"tcp": tcp, "tcp6": tcp6, "udp": udp, "udp6": udp6}
    return "# range\n32768\t60999\n" + "".join(
        f"# {name}\n{HEADER}{lines}" for name, lines in tables.items()
    )


def test_ports_are_told_by_who_can_reach_them() -> None:
    text = answer(
        tcp=line("00000000:0016", "0A")  # 0.0.0.0:22
        + line("3500007F:0035", "0A")  # 127.0.0.53:53
        + line("0F02000A:1F90", "0A")  # 10.0.2.15:8080
        + line("0100007F:8627", "0A")  # 127.0.0.1:34343, by chance
        + line("00000000:8628", "0A")  # 0.0.0.0:34344
        + line("0F02000A:0016", "01", "0202000A:A0B0"),  # our own SSH connection
        tcp6=line("00000000000000000000000000000000:0016", "0A")
        + line("00000000000000000000000001000000:0277", "0A")  # [::1]:631
        + line("0000000000000000FFFF00000100007F:1F91", "0A"),  # ::ffff:127.0.0.1
        udp=line("0F02000A:0044", "07")  # DHCP
        + line("3500007F:0035", "07")
        + line("00000000:D431", "07")  # 54321: a client's
        + line("0F02000A:007B", "01", "0202000A:007B"),  # connected
        udp6=line("00000000000000000000000000000000:14EB", "07"),
    )
    assert parse(text) == (
        "tcp 22",
        "tcp 127.0.0.53:53",
        "tcp [::1]:631",
        "tcp 8080",
        "tcp 127.0.0.1:8081",
        "tcp 34344",
        "udp 127.0.0.53:53",
        "udp 68",
        "udp 5355",
    )


def test_a_guest_without_ipv6_is_understood() -> None:
    text = answer(tcp=line("00000000:0050", "0A"))
    for table in ("tcp6", "udp6"):
        text = text.replace(f"# {table}\n{HEADER}", f"# {table}\n")
    assert parse(text) == ("tcp 80",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# range\n32768 60999\n# tcp\n" + HEADER,
        answer(tcp="what is this\n"),
        answer(tcp=line("nonsense:0016", "0A")),
        answer().replace("32768\t60999", ""),
        answer().replace(f"# tcp\n{HEADER}", "# tcp\n"),
    ],
)
def test_what_cannot_be_understood_is_not_taken_for_nothing(text: str) -> None:
    with pytest.raises(Failed, match="cannot be told what listens"):
        parse(text)


@pytest.mark.skipif(sys.byteorder != "little", reason="guests are little-endian")
def test_this_machines_own_kernel_is_understood() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = "# range\n1 1\n"
        for table in ("tcp", "tcp6", "udp", "udp6"):
            path = Path(f"/proc/{os.getpid()}/net/{table}")
            text += f"# {table}\n" + (path.read_text() if path.exists() else "")
        assert f"tcp 127.0.0.1:{port}" in parse(text)
