"""What listens for connections in a running guest, as its kernel has it in ``/proc/net``.

Nothing has to be installed in the guest for that. A port on which the guest can be reached from
outside is told as ``tcp 22``, one that only the guest itself can reach with its loopback address:
``tcp 127.0.0.53:53``. Other addresses are left out: they are those of the network of the test.

Ports of the range that the kernel hands out (``ip_local_port_range``, 32768 to 60999 by default)
are left out where nobody asked for that number, which is another one at each boot: those of UDP,
where a client's socket such as systemd-timesyncd's looks the same as a server's, and those of TCP
on the loopback, such as containerd's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from imagectl.adapters import process
from imagectl.adapters.guest import Guest
from imagectl.errors import Failed

SETTLE_SECONDS = 120
"""How long the guest may take to start all its services, after it answers over SSH. A guest that
has not settled by then is taken as it is."""

_OPEN = {"tcp": "0A", "udp": "07"}
"""The state of a socket that waits for anybody: TCP_LISTEN; of UDP, one that is not connected."""
_RANGE = "range"
_TABLES = ("tcp", "tcp6", "udp", "udp6")

_SCRIPT = (
    f"timeout {SETTLE_SECONDS} systemctl is-system-running --wait >/dev/null 2>&1; "
    f"echo '# {_RANGE}'; cat /proc/sys/net/ipv4/ip_local_port_range; "
    f"for table in {' '.join(_TABLES)}; do "
    'echo "# $table"; test ! -e /proc/net/$table || cat /proc/net/$table || exit 1; done'
)


def listening(guest: Guest) -> tuple[str, ...]:
    """What listens once the guest has started its services, sorted.

    Goes over the shared SSH connection. Raises ToolFailed, and Failed for an answer that cannot be
    understood: what is not known must not pass for nothing (P8).
    """
    done = process.run(
        ["ssh", "-F", str(guest.ssh_config), "guest", _SCRIPT],
        what="reading what listens in the VM",
        timeout=SETTLE_SECONDS + 120,
    )
    return parse(done.output)


def parse(text: str) -> tuple[str, ...]:
    """The ports in what the guest has answered. Raises Failed."""
    sections: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("# "):
            sections[line[2:].strip()] = []
        elif sections and line.strip():
            sections[list(sections)[-1]].append(line)
    try:
        first, last = (int(number) for number in sections[_RANGE][0].split())
        found = {
            port
            for table in _TABLES
            for port in _ports(table, sections[table], range(first, last + 1))
        }
    except (IndexError, KeyError, ValueError) as wrong:
        raise Failed(
            "it cannot be told what listens in the VM",
            why=f"its answer was not understood: {wrong!r} in {text[:200]!r}",
            hint="its kernel must have /proc/net (proc(5))",
        ) from None
    return tuple(sorted(found, key=_order))


def _ports(table: str, lines: list[str], handed_out: range) -> Iterator[str]:
    protocol = table[:3]
    if table == protocol and not lines:
        raise KeyError(table)  # only IPv6 may be missing; an empty table has a heading
    for line in lines[1:]:
        _, local, _, state, *_ = line.split()
        address, _, port_text = local.partition(":")
        port = int(port_text, 16)
        at = _address(address)
        by_chance = port in handed_out and (protocol == "udp" or at.is_loopback)
        if state != _OPEN[protocol] or by_chance:
            continue
        if not at.is_loopback:
            yield f"{protocol} {port}"
        elif at.version == 6:
            yield f"{protocol} [{at}]:{port}"
        else:
            yield f"{protocol} {at}:{port}"


def _address(digits: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address as the kernel prints it: words of 32 bits, each in the order of the processor,
    which is little-endian on every architecture that there are images for."""
    raw = bytes.fromhex(digits)
    address = ipaddress.ip_address(
        b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))
    )
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _order(port: str) -> tuple[str, int, str]:
    protocol, _, rest = port.partition(" ")
    return protocol, int(rest.rpartition(":")[2]), rest
