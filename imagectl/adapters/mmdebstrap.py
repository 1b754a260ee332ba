"""Runs mmdebstrap: packages from a mirror -> a tar of a root file system, without root rights.

mmdebstrap runs in namespaces of ours (``namespaces``), so its work folder may be anywhere, also
below a home folder that nobody else may enter. Ended at any moment it leaves nothing behind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagectl.adapters import namespaces, process
from imagectl.adapters.disk.files import whole_file
from imagectl.adapters.mirrors import Mirror
from imagectl.errors import BuildFailed, CannotTell, ImagectlError, ToolFailed
from imagectl.model.lock import Access
from imagectl.services.ports.progress import Progress

HINT = "apt-get install mmdebstrap"

DPKG_FORCE = "security-mac,downgrade,unsafe-io"
"""What dpkg is forced to (dpkg(1), DPKG_FORCE): its defaults, and not to wait until each file that
it unpacks is on the disk. The root is packed and removed in a minute, and a machine that stops
meanwhile leaves nothing of it either way."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to install. ``hooks`` are mmdebstrap's options for its hooks, such as
    ``--essential-hook=...``."""

    suite: str
    packages: tuple[str, ...]
    components: tuple[str, ...] = ("main",)
    architecture: str = ""
    hooks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """The proxy that packages come through. ``authority``: who vouches for its https (PEM)."""

    proxy: str
    authority: Path
    access: Access

    @property
    def verified(self) -> bool:
        """True where the proxy compares each byte with a lock, which was made from signed indexes
        when their signatures were good. Their keys may have expired since then."""
        return self.access in (Access.LOCKED, Access.OFFLINE)

    def apt_options(self) -> list[str]:
        """mmdebstrap's options that make apt use it."""
        options = [
            f'Acquire::http::Proxy "{self.proxy}"',
            f'Acquire::https::Proxy "{self.proxy}"',
            f'Acquire::https::CaInfo "{self.authority}"',
        ]
        if self.access is not Access.RECORD:
            # Locked indexes are as old as the lock, and this machine's clock may say anything.
            options += ['Acquire::Check-Valid-Until "false"', 'Acquire::Check-Date "false"']
        return [f"--aptopt={option}" for option in options]


def source_lines(
    suite: str, components: Sequence[str], mirror: Mirror, *, trusted: bool = False
) -> list[str]:
    """apt's lines for a suite with its updates and security fixes. ``trusted``: signatures need
    not be good."""
    what = " ".join(components)
    deb = "deb [trusted=yes]" if trusted else "deb"
    lines = [f"{deb} {mirror.archive} {each} {what}" for each in (suite, f"{suite}-updates")]
    if mirror.security is not None:
        lines.append(f"{deb} {mirror.security} {suite}-security {what}")
    return lines


def make_root(
    recipe: Recipe,
    mirror: Mirror,
    work: Path,
    out: Path,
    *,
    route: Route | None = None,
    env: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the tar of a root file system with the recipe's packages to *out*.

    ``work``: an existing folder for what is needed meanwhile (twice the size of the root).
    ``route``: how the packages come; straight from the mirror where None.
    Raises BuildFailed with the suite or the package that the mirror does not have, CannotTell
    where the mirror cannot be reached, ToolMissing, NoSpace.
    """
    if '"' in str(work):
        raise BuildFailed(
            "apt cannot work below a folder with a double quote in its name",
            stage="base",
            where=str(work),
            hint="move or rename the folder",
        )
    namespaces.check_namespaces()
    program = process.find("mmdebstrap", hint=HINT)
    scratch = work / "mmdebstrap"
    scratch.mkdir()
    said: list[str] = []

    def hear(line: str) -> None:
        said.append(line)
        if progress is not None and line.startswith("I: ") and line.endswith("..."):
            progress.step(line.removeprefix("I: ").removesuffix("..."))

    try:
        with whole_file(out) as unfinished:
            command = [
                program,
                "--mode=unshare",
                "--variant=minbase",
                "--format=tar",
                '--aptopt=APT::Install-Recommends "false"',
                '--aptopt=Acquire::Languages "none"',
                '--aptopt=Acquire::Retries "3"',
                *(route.apt_options() if route is not None else ()),
                *recipe.hooks,
            ]
            if recipe.packages:
                command.append(f"--include={','.join(recipe.packages)}")
            if recipe.architecture:
                command.append(f"--architectures={recipe.architecture}")
            command += [recipe.suite, str(unfinished)]
            trusted = route is not None and route.verified
            command += source_lines(recipe.suite, recipe.components, mirror, trusted=trusted)
            # apt heeds no_proxy even where its own settings name a proxy.
            direct = {"no_proxy": "", "NO_PROXY": ""} if route is not None else {}
            process.run(
                namespaces.enter(command, all_ids=True),
                what=f"making a Debian {recipe.suite} with mmdebstrap",
                env={
                    "HOME": "/root",
                    "TMPDIR": str(scratch),
                    "LD_PRELOAD": "",  # a library of this machine is not in the new root
                    "DPKG_FORCE": DPKG_FORCE,
                    **direct,
                    **(env or {}),
                },
                on_line=hear,
            )
    except ToolFailed as failure:
        raise explain(failure, "\n".join(said), recipe, mirror) from failure
    finally:
        namespaces.remove_tree(scratch)


def explain(failure: ToolFailed, text: str, recipe: Recipe, mirror: Mirror) -> ImagectlError:
    """What mmdebstrap and apt have said (*text*), in one sentence that names what is wrong."""
    suite = recipe.suite
    missing = re.findall(r"Unable to locate package (\S+)", text)
    missing += re.findall(r"Package '?(\S+?)'? has no installation candidate", text)
    missing += re.findall(r"Couldn't find any package by (?:glob|regex) '(\S+?)'", text)
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        return _refusal(
            failure,
            f"Debian {suite} has no package {names}",
            why=f"looked in {' '.join(recipe.components)} of {mirror.archive}",
            hint="correct `base.packages`, or add the component that has it to `base.components`",
        )
    signature = re.search(
        r"(?:GPG error: (?P<url>\S+)[^:]*: (?P<why>[^\n]*))"
        r"|(?:The repository '(?P<repository>[^']*)' is not signed)",
        text,
    )
    if re.search(r"404\s+Not Found|does not have a Release file", text):
        return _refusal(
            failure,
            f"the mirror has no Debian suite {suite!r}",
            why=_apt_error(text),
            hint="name one that the mirror has, such as bookworm or trixie, in `base.suite`",
        )
    if re.search(
        r"Could not resolve|Could not connect|Connection (?:refused|timed out|failed)"
        r"|Temporary failure resolving|Network is unreachable",
        text,
    ):
        return CannotTell(
            "the Debian mirror cannot be reached",
            where=mirror.archive,
            why=_apt_error(text),
            hint="check the network, or set another `mirror` in imagectl.yaml",
        )
    if signature:
        return _refusal(
            failure,
            f"the mirror's signature on Debian {suite} is not good",
            why=(signature["why"] or _apt_error(text)).strip(),
            hint="do not use this mirror; where it is a new Debian release, "
            "`apt-get install --only-upgrade debian-archive-keyring`",
        )
    outdated = re.search(r"Release file for (\S+) is (expired|not valid yet)[^\n]*", text)
    if outdated:
        return _refusal(
            failure,
            f"the mirror's index of Debian {suite} is {outdated[2]}",
            why=outdated[0],
            hint="is the clock of this machine right? If so, the mirror is no longer kept up: "
            "set another `mirror` in imagectl.yaml",
        )
    conflict = re.search(r"The following packages have unmet dependencies:\n((?:.*\n)+)", text)
    if conflict:
        return _refusal(
            failure,
            f"the packages do not fit together in Debian {suite}",
            why=conflict[1].strip().splitlines()[0].strip(),
            hint="take one of them out of `base.packages`",
        )
    return failure


def _refusal(failure: ToolFailed, what: str, *, why: str, hint: str) -> BuildFailed:
    return BuildFailed(what, stage="base", tail=failure.tail, why=why, hint=hint)


def _apt_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines()]
    for prefix in ("E: ", "Err:", "W: "):
        for line in lines:
            if line.startswith(prefix) and not line.startswith("E: mmdebstrap"):
                return line.removeprefix(prefix)
    return ""
