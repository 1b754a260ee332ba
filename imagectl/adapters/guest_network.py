"""The build VM's only way out: one address in its network, which is the recording proxy.

QEMU gives the VM a network of its own that ends at QEMU (``restrict=on``): no packet leaves it. The
only exceptions are a connection in, to the VM's SSH server from this machine's loopback, and
connections out to ``ADDRESS:PORT``, each of which QEMU joins to a ``relay`` to the proxy. What a
task in the VM fetches is therefore recorded or does not arrive, and names are resolved by the
proxy alone: there is no DNS, no IPv6, no ICMP beyond QEMU itself.

Programs in the VM learn of the proxy through apt's configuration and through the environment of
each task. Nothing of either stays in the image: the files are below ``/run`` or dropped by the
rules for volatile paths.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from imagectl.adapters import relay
from imagectl.adapters.guest import GuestFile

ADDRESS = "10.0.2.100"
"""In QEMU's user network (10.0.2.0/24), one that nothing else has."""

PORT = 3128

PROXY = f"http://{ADDRESS}:{PORT}"

AUTHORITY = "/run/imagectl-build/authority.pem"
WGETRC = "/run/imagectl-build/wgetrc"

APT_CONF = "/etc/apt/apt.conf.d/zz-imagectl-build"
"""Read last, so that it wins over what the image itself sets. A volatile-path rule drops it."""


def netdev(proxy_port: int, ssh_port: str) -> str:
    """The value of QEMU's ``-netdev``. ``ssh_port``: of this machine, forwarded to the VM's 22."""
    command = shlex.join([sys.executable, "-I", "-S", relay.__file__, str(proxy_port)])
    return (
        f"user,id=user.0,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:{ssh_port}-:22,"
        f"guestfwd=tcp:{ADDRESS}:{PORT}-cmd:{command.replace(',', ',,')}"
    )


def files(authority: Path) -> list[GuestFile]:
    """What the VM finds when it has booted. ``authority``: a PEM file of this machine."""
    return [
        GuestFile(AUTHORITY, authority.read_text(), 0o644),
        GuestFile(WGETRC, f"ca_certificate = {AUTHORITY}\n", 0o644),
        GuestFile(
            APT_CONF,
            f'Acquire::http::Proxy "{PROXY}";\n'
            f'Acquire::https::Proxy "{PROXY}";\n'
            f'Acquire::https::CaInfo "{AUTHORITY}";\n',
            0o644,
        ),
    ]


def environment(epoch: int) -> dict[str, str]:
    """What each task in the VM has in its environment, unless it says otherwise itself."""
    proxies = {
        "http_proxy": PROXY,
        "https_proxy": PROXY,
        "ftp_proxy": PROXY,
        "no_proxy": "localhost,127.0.0.1,::1",
    }
    return {
        **proxies,
        **{name.upper(): value for name, value in proxies.items()},
        **trusting(AUTHORITY),
        "WGETRC": WGETRC,
        # Without it, initrds, font caches and compiled Python differ from build to build.
        "SOURCE_DATE_EPOCH": str(epoch),
    }


def trusting(authority: str) -> dict[str, str]:
    """Environment variables that make programs trust that PEM file, and nothing else."""
    names = (
        "SSL_CERT_FILE",  # OpenSSL, Python's ssl, Go, Ruby
        "CURL_CA_BUNDLE",
        "REQUESTS_CA_BUNDLE",
        "PIP_CERT",
        "NODE_EXTRA_CA_CERTS",
        "npm_config_cafile",
        "GIT_SSL_CAINFO",
        "CARGO_HTTP_CAINFO",
    )
    return dict.fromkeys(names, authority)
