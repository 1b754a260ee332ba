"""What the recording proxy adds to apt: the same work straight from the mirror and through it, in
turn. Needs this machine's Debian mirror."""

from __future__ import annotations

import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.inputs.store import InputStore
from imagectl.adapters.inputs.supply import open_supply
from imagectl.adapters.mirrors import Mirror, host_mirror
from imagectl.adapters.mmdebstrap import Recipe, Route, make_root
from imagectl.model.lock import Access, Inputs

ROUNDS = 5
SUITE = "bookworm"
PACKAGES = ("ca-certificates", "nginx-light", "openssh-server", "python3-apt", "systemd-sysv")
"""With what they need, and with minbase, some 150 packages."""

Run = Callable[[Path, Route | None], None]


def main() -> None:
    """Install, and only download, ``ROUNDS`` times each way; the medians and their ratios."""
    mirror = host_mirror()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        work = Path(folder)
        compare("apt-get install", work, mirror, lambda to, route: install(to, mirror, route))
        compare("download only", work, mirror, lambda to, route: download(to, mirror, route))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"memory of this process, proxy included: {used.ru_maxrss >> 10} MiB at most")


def compare(what: str, work: Path, mirror: Mirror, run: Run) -> None:
    """Straight from the mirror; recorded into an empty store; from the store alone."""
    ways = ("straight", "recorded", "from the store")
    spent: dict[str, list[Spent]] = {way: [] for way in ways}
    taken = Inputs()
    for number in range(ROUNDS):
        store = InputStore(work / f"store{number}")
        # The store must be filled before it is used, so only the other two change places.
        for way in (*(ways[:2] if number % 2 else ways[1::-1]), ways[2]):
            to = work / "to"
            to.mkdir()
            before = Spent.now()
            if way == "straight":
                run(to, None)
            else:
                access = Access.RECORD if way == "recorded" else Access.LOCKED
                taken = through_the_proxy(to, mirror, store, access, taken, run)
            spent[way].append(Spent.now() - before)
            shutil.rmtree(to)
        shutil.rmtree(store.root)
    size = sum(each.size for each in taken.packages)
    print(f"{what} of {len(taken.packages)} packages, {size / 1e6:.0f} MB:")
    straight = Spent.middle(spent["straight"])
    for way in ways:
        middle = Spent.middle(spent[way])
        print(
            f"  {way:15} {middle.seconds:7.2f} s  ratio {middle.seconds / straight.seconds:.3f}"
            f"   processor: apt and dpkg {middle.theirs:.2f} s, proxy {middle.ours:.2f} s"
            f"  ratio {1 + middle.ours / straight.theirs:.3f}"
        )


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds that have passed, and seconds of processor time, of this process (the proxy is a part
    of it) and of the programs that it started. On a busy machine only the latter say something."""

    seconds: float
    ours: float
    theirs: float

    @classmethod
    def now(cls) -> Spent:
        own = resource.getrusage(resource.RUSAGE_SELF)
        others = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cls(time.monotonic(), own.ru_utime + own.ru_stime, others.ru_utime + others.ru_stime)

    @classmethod
    def middle(cls, many: Sequence[Spent]) -> Spent:
        return cls(
            statistics.median(each.seconds for each in many),
            statistics.median(each.ours for each in many),
            statistics.median(each.theirs for each in many),
        )

    def __sub__(self, before: Spent) -> Spent:
        return Spent(
            self.seconds - before.seconds, self.ours - before.ours, self.theirs - before.theirs
        )


def through_the_proxy(
    to: Path, mirror: Mirror, store: InputStore, access: Access, locked: Inputs, run: Run
) -> Inputs:
    """What was downloaded. Setting up and ending the proxy counts in."""
    clock = SystemClock()
    with open_supply(
        access=access,
        locked=locked,
        mirrors=mirror.addresses(),
        upstream=mirror.addresses,
        store=store,
        folder=to / "supply",
        epoch=int(clock.now().timestamp()),
        now=clock.now,
    ) as supply:
        run(to, Route(supply.proxy, supply.authority, access))
        supply.check()
        return supply.taken()


def install(to: Path, mirror: Mirror, route: Route | None) -> None:
    """A root with the packages, made by mmdebstrap: apt and dpkg at work, as in a build."""
    make_root(Recipe(SUITE, PACKAGES), mirror, to, to / "root.tar", route=route)


def download(to: Path, mirror: Mirror, route: Route | None) -> None:
    """Only the downloads, of indexes and packages: the worst case for a proxy."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (to / folder).mkdir(parents=True)
    (to / "status").touch()
    (to / "sources.list").write_text(f"deb {mirror.archive} {SUITE} main\n")
    options = {
        "Dir::State::Lists": to / "lists",
        "Dir::State::status": to / "status",
        "Dir::Cache": to / "cache",
        "Dir::Etc::SourceList": to / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Acquire::Languages": "none",
        "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "root",
    }
    if route is not None:
        options["Acquire::http::Proxy"] = route.proxy
    common = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
    subprocess.run([*common, "update"], check=True, stdout=subprocess.DEVNULL)
    wanted = ["install", "-y", "--download-only", *PACKAGES]
    subprocess.run([*common, *wanted], check=True, stdout=subprocess.DEVNULL)
