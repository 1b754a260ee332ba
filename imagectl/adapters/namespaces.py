"""Runs a program in private Linux namespaces, in another root where asked, without root rights.

Promises: nothing is mounted on the machine itself; whatever the program starts ends with it, and
all of it when this process ends, killed or not; an ordinary user needs neither sudo nor set-uid
programs, except ``newuidmap`` where more than one user id is needed inside. Root needs no user
namespace (and often has no entry in /etc/subuid).

In there the machine is called ``localhost``. A program in another root sees no network, a ``/dev``
of five harmless nodes, its own processes, and below ``/mnt`` exactly what was bound there.
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagectl.adapters import process
from imagectl.errors import Failed, ToolFailed, ToolMissing

SUBIDS = 65536
"""How many subordinate ids a Debian system needs: nogroup and nobody are 65534."""

_INSIDE = """
set -e
trap 'exit 143' TERM INT HUP
exec 3<&0
hostname localhost
root=$1; proc=$2; shift 2
if [ "$proc" = proc ]; then mount -t proc proc "${root%/}/proc"; fi
if [ "$root" != / ]; then
  mount -t tmpfs -o mode=755 none "$root/dev"
  for node in null zero full random urandom; do
    : > "$root/dev/$node"; mount --bind "/dev/$node" "$root/dev/$node"
  done
  ln -s /proc/self/fd "$root/dev/fd"
  mount -t tmpfs -o mode=755 none "$root/mnt"
  while [ "$1" != -- ]; do
    if [ -d "$2" ]; then mkdir "$root/mnt/$1"; else : > "$root/mnt/$1"; fi
    mount --rbind "$2" "$root/mnt/$1"
    shift 2
  done
  shift
  chroot "$root" "$@" <&3 3<&- &
else
  shift
  "$@" <&3 3<&- &
fi
wait $!
"""
# A shell gives what runs in the background an empty standard input, unless told another.
# The shell stays as the first process of the namespace: it can be ended by a signal (a first
# process without a handler ignores them), and the kernel then ends everything else in there.


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the host that the program sees as ``/mnt/<name>``."""

    source: Path
    name: str


def is_root() -> bool:
    """True where no user namespace is needed."""
    return os.geteuid() == 0


def enter(
    args: Sequence[str],
    *,
    root: Path | None = None,
    binds: Sequence[Bind] = (),
    all_ids: bool = False,
    proc: bool = False,
) -> list[str]:
    """The command line that runs *args* in namespaces of its own, as root in there.

    ``root``: the folder it takes for ``/``. ``all_ids``: it also owns the user's subordinate ids,
    so that it can make files of other users. ``proc``: it has a ``/proc``, of its own processes.
    """
    command = ["setpriv", "--pdeathsig", "KILL", "unshare"]
    if not is_root():
        command += ["--user", "--map-root-user"]
        if all_ids:
            command.append("--map-auto")
    command += ["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
    if root is not None:
        command.append("--net")
    command += ["sh", "-c", _INSIDE, "sh"]
    command += [str(root) if root is not None else "/", "proc" if proc else "-"]
    if root is not None:
        for bind in binds:
            command += [bind.name, str(bind.source)]
    return [*command, "--", *args]


def run_inside(
    root: Path,
    args: Sequence[str],
    *,
    binds: Sequence[Bind] = (),
    env: Mapping[str, str] | None = None,
    input: bytes | Iterable[bytes] | None = None,
    what: str = "",
    proc: bool = False,
    check: bool = True,
) -> process.Completed:
    """Run a program of the root *root* to its end. Errors are those of ``process.run``."""
    inside = {
        "HOME": "/root",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "TMPDIR": "/tmp",
        "LD_PRELOAD": "",  # a library of this machine is not in there
    }
    return process.run(
        enter(args, root=root, binds=binds, proc=proc),
        what=what,
        env={**inside, **(env or {})},
        input=input,
        check=check,
    )


def remove_tree(folder: Path) -> None:
    """Remove a folder with all below it, also what belongs to the user's subordinate ids.

    Absent is fine. Raises ToolFailed where something cannot be removed.
    """
    if not os.path.lexists(folder):
        return
    try:
        shutil.rmtree(folder)
    except PermissionError:
        if is_root():
            raise
        process.run(
            enter(["rm", "-rf", "--", str(folder)], all_ids=True), what=f"removing {folder}"
        )


def check_namespaces() -> None:
    """Raise, with the exact remedy, where this machine does not let this user do all of that.

    ToolMissing where a program is missing, Failed where the kernel or ``/etc/subuid`` say no.
    """
    for program in ("unshare", "setpriv"):
        process.find(program, hint="apt-get install util-linux")
    if is_root():
        _try_out(
            enter(["true"]),
            "root cannot make namespaces here",
            "run imagectl outside of this container, or give it CAP_SYS_ADMIN",
        )
        return
    _try_out(
        enter(["true"]),
        "this machine does not let ordinary users make user namespaces",
        kernel_remedy(Path("/proc/sys")),
    )
    process.find("newuidmap", hint="apt-get install uidmap")
    user = pwd.getpwuid(os.geteuid()).pw_name
    for file, option in (("/etc/subuid", "--add-subuids"), ("/etc/subgid", "--add-subgids")):
        if not has_subids(Path(file), user, os.geteuid()):
            raise Failed(
                f"{user} has no {SUBIDS} subordinate ids in {file}",
                where=file,
                why="a Debian system has files of many users, which are mapped to these ids",
                hint=f"sudo usermod {option} 100000-165535 {user}",
            )
    _try_out(
        enter(["true"], all_ids=True),
        "the subordinate ids cannot be mapped",
        "newuidmap and newgidmap must be set-uid root or have capabilities: "
        "apt-get install --reinstall uidmap",
    )


def _try_out(command: Sequence[str], what: str, hint: str) -> None:
    try:
        process.run(command, what=what, timeout=30)
    except ToolMissing:
        raise
    except ToolFailed as failure:
        raise Failed(what, why=failure.tail.strip() or failure.why, hint=hint) from failure


def kernel_remedy(sysctls: Path) -> str:
    """Which kernel setting below *sysctls* (``/proc/sys``) forbids user namespaces."""
    forbidding = (
        ("kernel/unprivileged_userns_clone", "0", "1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
        ("user/max_user_namespaces", "0", "10000"),
    )
    for name, bad, good in forbidding:
        file = sysctls / name
        if file.exists() and file.read_text().strip() == bad:
            return f"sudo sysctl -w {name.replace('/', '.')}={good}"
    return "a container or a security module forbids it: run imagectl outside of it, or as root"


def has_subids(file: Path, user: str, uid: int) -> bool:
    """Whether *file* (``/etc/subuid`` or ``/etc/subgid``) gives the user enough ids."""
    if not file.exists():
        return False
    for line in file.read_text().splitlines():
        owner, _, span = line.partition(":")
        _, _, count = span.partition(":")
        if owner in (user, str(uid)) and count.isdigit() and int(count) >= SUBIDS:
            return True
    return False
