"""A running VM as the rest of imagectl sees it: an address, a key, a console. SSH to it.

All SSH goes through one multiplexed connection (OpenSSH ControlMaster), so that its handshake,
over a second under emulation, is paid once. The keys are made for one run and are never in an
image; they reach the guest as systemd credentials (``credentials``), see systemd.exec(5) and
"CREDENTIALS" in systemd(1).
"""

from __future__ import annotations

import base64
import contextlib
import shlex
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagectl.adapters import process
from imagectl.errors import Failed, GuestUnreachable
from imagectl.services.ports.locations import Booted

CONSOLE_TAIL_LINES = 40
POLL_SECONDS = 0.25
GREETING_SECONDS = 2.0
GREETING_SHARE = 1 / 8
"""How long one connection is waited for: at least so long, and that share of the time since the
start. A guest that took minutes to boot was seen to take 2.3 s to greet; whoever hung up on it
after 2 s, and called again, was never answered, and gave it more to do."""
PANIC = "Kernel panic - not syncing"

SMBIOS_BYTES = 4096
"""How much all credentials may take, as SMBIOS has them: systemd 252 reads them at once, of which
Linux gives a page. Seen: with 4.9 kB the last one is cut off, and dropped."""
_SMBIOS_HEADER = 6
"""Bytes of an SMBIOS structure of type 11 beside its strings."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The key pair of one run. ``private`` is a file that only its owner may read."""

    private: Path
    public: str


@dataclass(frozen=True, slots=True)
class Guest:
    """A VM that answers over SSH, as root, on this machine's loopback."""

    port: int
    ssh_config: Path
    console: Path

    def ssh_command(self) -> str:
        """What a person types to get into it."""
        return shlex.join(["ssh", "-F", str(self.ssh_config), "guest"])


def make_keys(folder: Path) -> Keys:
    """A fresh ed25519 key pair in *folder*."""
    private = folder / "id_ed25519"
    process.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "imagectl", "-f", private],
        what="making an SSH key",
        hint="apt-get install openssh-client",
    )
    return Keys(private, private.with_suffix(".pub").read_text().strip())


@dataclass(frozen=True, slots=True)
class GuestFile:
    """A file that the guest finds when it has booted. ``path`` is absolute, without spaces."""

    path: str
    text: str
    mode: int = 0o600


def credentials(
    keys: Keys, folder: Path, files: Sequence[GuestFile] = (), marks: Sequence[str] = ()
) -> list[str]:
    """QEMU's arguments that hand the guest its login key, and *files* to write before sshd starts.
    *marks*: names of credentials that only have to be there.

    The credentials go through files, not through the command line, which every user can read. In
    the guest, *files* are written by systemd-tmpfiles (``tmpfiles.extra``). Raises Failed where
    they are too many: the guest would take none of them, and say so only on its console.
    """
    values = {"ssh.authorized_keys.root": keys.public + "\n", **dict.fromkeys(marks, "yes")}
    if files:
        lines = []
        for each in files:
            encoded = base64.b64encode(each.text.encode()).decode()
            # `f+~`: create or truncate; the argument is Base64 (tmpfiles.d(5)).
            lines.append(f"f+~ {each.path} {each.mode:04o} root root - {encoded}\n")
        values["tmpfiles.extra"] = "".join(lines)
    arguments = []
    size = _SMBIOS_HEADER
    for name, value in values.items():
        encoded = base64.b64encode(value.encode()).decode()
        file = folder / f"credential-{name}"
        text = f"io.systemd.credential.binary:{name}={encoded}"
        size += len(text) + 1
        file.write_text(text)
        file.chmod(0o600)
        arguments += ["-smbios", f"type=11,path={in_option(file)}"]
    if size > SMBIOS_BYTES:
        raise Failed(
            "the build VM cannot be given all that it needs",
            why=f"its credentials take {size} bytes, of which a guest reads {SMBIOS_BYTES}",
        )
    return arguments


def in_option(path: Path) -> str:
    """A path inside a QEMU option: a comma is doubled (qemu(1), -drive)."""
    return str(path).replace(",", ",,")


def in_ssh(path: Path) -> str:
    """A path as the value of an ssh option: one, and without ssh's variables (ssh_config(5))."""
    return f'"{str(path).replace("%", "%%")}"'


def write_ssh_config(folder: Path, sockets: Path, keys: Keys, port: int) -> Path:
    """An ssh_config in which ``guest`` is the VM behind *port*, through one shared connection."""
    here = Booted("127.0.0.1", port, "root", keys.private, None)
    return write_machine_config(folder, sockets, here)


def write_machine_config(folder: Path, sockets: Path, machine: Booted) -> Path:
    """The same for a machine anywhere. A host key that is not known beforehand is taken once."""
    path = folder / "ssh_config"
    known = machine.known_hosts or folder / "known_hosts"
    path.write_text(
        "Host guest\n"
        f"  HostName {machine.host}\n"
        f"  Port {machine.port}\n"
        f"  User {machine.user}\n"
        f"  IdentityFile {in_ssh(machine.key)}\n"
        "  IdentitiesOnly yes\n"
        f"  StrictHostKeyChecking {'yes' if machine.known_hosts else 'accept-new'}\n"
        f"  UserKnownHostsFile {in_ssh(known)}\n"
        "  GlobalKnownHostsFile /dev/null\n"
        "  PasswordAuthentication no\n"
        "  ConnectTimeout 60\n"
        "  ServerAliveInterval 15\n"
        "  ServerAliveCountMax 8\n"
        "  LogLevel ERROR\n"
        "  ControlMaster auto\n"
        f"  ControlPath {in_ssh(sockets / 'ssh')}\n"
        "  ControlPersist 600\n"
    )
    return path


def wait_for_ssh(port: int, console: Path, seconds: float, alive: Callable[[], bool]) -> None:
    """Return as soon as the guest's SSH server greets.

    Raises GuestUnreachable, with the console's tail, after *seconds*, and at once where the VM has
    ended or its kernel has panicked.
    """
    start = time.monotonic()
    while True:
        waited = time.monotonic() - start
        if _greets(port, max(GREETING_SECONDS, waited * GREETING_SHARE)):
            return
        why = ""
        if not alive():
            why = "the VM ended by itself"
        elif PANIC in (text := console_text(console)):
            why = text[text.index(PANIC) :].splitlines()[0]
        elif time.monotonic() > start + seconds:
            why = f"no SSH server answered within {seconds:.0f} s"
        if why:
            raise GuestUnreachable(
                "the VM cannot be reached by SSH",
                why=why,
                tail=console_tail(console),
                hint="the whole console is in the log; `build: {boot_timeout: 10m}` in "
                "imagectl.yaml gives it more time",
            )
        time.sleep(POLL_SECONDS)


def _greets(port: int, patience: float) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as link:
        # QEMU accepts at once, whether or not the guest listens; only the greeting counts.
        link.settimeout(patience)
        return link.recv(4) == b"SSH-"
    return False


@contextlib.contextmanager
def connection(guest: Guest) -> Iterator[None]:
    """The shared connection, closed when the block is left."""
    ssh = ["ssh", "-F", str(guest.ssh_config)]
    process.run([*ssh, "guest", "true"], what="logging in to the VM", timeout=120)
    try:
        yield
    finally:
        process.run([*ssh, "-O", "exit", "guest"], check=False, timeout=20)


def console_text(console: Path) -> str:
    """What the guest has written on its serial console so far."""
    try:
        return console.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def console_tail(console: Path) -> str:
    """The console's last lines, without the control characters of a terminal."""
    lines = console_text(console).replace("\r", "").splitlines()[-CONSOLE_TAIL_LINES:]
    return "\n".join("".join(c for c in line if c == "\t" or c.isprintable()) for line in lines)
