"""Which known vulnerabilities a version has, by Debian's security data.

Nothing found is only ever said of data that is whole, about the version's own suite and young
enough (P8). Looked up is each Debian package by its source package, as debsecan does; and signed
ones, such as the kernel, also by the source that they were built using, which debsecan overlooks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from imagectl.errors import CannotTell
from imagectl.model.contents import Contents, DebianPackage, SourcePackage
from imagectl.model.debian_version import version_order
from imagectl.model.security import SecurityData, Urgency, Vulnerability, Weakness
from imagectl.policy.wording import moment, span
from imagectl.services.ports.looking_inside import Advisories
from imagectl.services.ports.progress import Progress

FRESH = timedelta(days=1)
"""Data that is kept here is not fetched again within that time. Debian makes it anew several times
a day."""

CLOCKS = timedelta(hours=1)
"""By how much the clock of whoever took the data may be ahead of ours."""

_SIGNED = ("-signed", "-signed-amd64", "-signed-arm64")


@dataclass(frozen=True, slots=True)
class Scanned:
    """What was found, the most urgent first, by which data."""

    data: SecurityData
    vulnerabilities: tuple[Vulnerability, ...]

    def of(self, urgency: Urgency) -> tuple[Vulnerability, ...]:
        """Those of that urgency."""
        return tuple(each for each in self.vulnerabilities if each.urgency is urgency)


def obtain(
    advisories: Advisories,
    suite: str,
    now: datetime,
    max_age: timedelta,
    *,
    fetch: bool,
    snapshot: Path | None,
    progress: Progress,
) -> SecurityData:
    """Data about *suite* that is not older than *max_age*.

    From *snapshot* alone where that is given; else from the network, where *fetch* or where what is
    kept here is no longer fresh; else, where the network cannot be reached, what is kept here.
    Raises CannotTell, saying what is wrong with each of them.
    """
    if snapshot is not None:
        return _usable(advisories.read(snapshot, suite), suite, now, max_age)
    kept: SecurityData | None = None
    trouble = ""
    if not fetch:
        try:
            kept = advisories.kept(suite)
            if kept is not None:
                kept = _usable(kept, suite, now, max_age)
        except CannotTell as problem:
            kept, trouble = None, f"what is kept here: {problem.what}: {problem.why}; "
        if kept is not None and now - kept.taken < FRESH:
            return kept
    progress.step(f"fetching Debian's security data about {suite}")
    try:
        return _usable(advisories.fetch(suite, now), suite, now, max_age)
    except CannotTell as problem:
        if kept is None:
            raise CannotTell(
                problem.what, where=problem.where, why=f"{trouble}{problem.why}", hint=problem.hint
            ) from problem
        progress.note(
            f"{problem.what}: {problem.why}; what is kept here is of {moment(kept.taken)}"
        )
        return kept


def at_hand(advisories: Advisories, suite: str, now: datetime, max_age: timedelta) -> SecurityData:
    """What is kept here about *suite*, without a network. Raises CannotTell where there is nothing,
    or nothing that is whole and not older than *max_age*."""
    kept = advisories.kept(suite)
    if kept is None:
        raise CannotTell(
            f"no security data about {suite} has been fetched here",
            where=suite,
            hint="`imagectl scan --fetch` gets it",
        )
    return _usable(kept, suite, now, max_age)


def suite_of(contents: Contents, what: str) -> str:
    """The suite whose data a version needs. Raises CannotTell where there can be none."""
    if contents.system.get("ID") != "debian" or not contents.debian:
        name = contents.system.get("PRETTY_NAME") or contents.system.get("ID") or "unknown"
        raise CannotTell(
            f"it cannot be told which vulnerabilities {what} has",
            where=what,
            why=f"its system is {name} with {len(contents.debian)} Debian packages; the data is "
            "about Debian's own",
        )
    if not contents.codename:
        raise CannotTell(
            f"it cannot be told which vulnerabilities {what} has",
            where=what,
            why="its /etc/os-release has no VERSION_CODENAME, so its suite is not known",
        )
    return contents.codename


def scan(contents: Contents, data: SecurityData) -> Scanned:
    """The vulnerabilities of the version's Debian packages."""
    found = {each for package in contents.debian for each in _of(package, data)}
    urgencies = list(Urgency)
    return Scanned(
        data,
        tuple(
            sorted(
                found,
                key=lambda each: (
                    *(urgencies.index(each.urgency), each.name),
                    *(each.package, each.architecture, each.source),
                ),
            )
        ),
    )


def _usable(data: SecurityData, suite: str, now: datetime, max_age: timedelta) -> SecurityData:
    where = data.source
    if data.suite != suite:
        raise CannotTell(
            f"the security data does not cover {suite}",
            where=where,
            why=f"it is about {data.suite}",
            hint=f"`imagectl scan --fetch` gets it for {suite}",
        )
    if data.taken - now > CLOCKS:
        raise CannotTell(
            "it is not known how old the security data is",
            where=where,
            why=f"it is of {moment(data.taken)}, and the clock here says {moment(now)}",
            hint="set this machine's clock, or fetch the data again",
        )
    if now - data.taken > max_age:
        raise CannotTell(
            "the security data is too old",
            where=where,
            why=f"it is of {moment(data.taken)}, {span(now - data.taken)} ago; "
            f"{span(max_age)} are allowed",
            hint="`imagectl scan --fetch` gets it anew; --max-age allows more",
        )
    return data


def _of(package: DebianPackage, data: SecurityData) -> Iterator[Vulnerability]:
    for weakness in data.weaknesses.get(package.name, ()):
        if weakness.binary and _is_vulnerable(weakness, package.version):
            yield _found(package, package.name, package.version, weakness)
    for source in _sources(package):
        for weakness in data.weaknesses.get(source.name, ()):
            if not weakness.binary and _is_vulnerable(weakness, source.version):
                yield _found(package, source.name, source.version, weakness)


def _sources(package: DebianPackage) -> Iterator[SourcePackage]:
    yield package.source
    if package.source.name.endswith(_SIGNED):
        yield from package.built_using


def _is_vulnerable(weakness: Weakness, version: str) -> bool:
    order = version_order(version)
    if weakness.unstable and order >= version_order(weakness.unstable):
        return False
    return all(order != version_order(other) for other in weakness.others)


def _found(package: DebianPackage, source: str, version: str, weakness: Weakness) -> Vulnerability:
    return Vulnerability(
        name=weakness.name,
        package=package.name,
        architecture=package.architecture,
        installed=package.version,
        source=source,
        fixed=weakness.fixed,
        fixed_in=_fixed_in(weakness, version) if weakness.fixed else None,
        unstable=weakness.unstable or None,
        urgency=weakness.urgency,
        remote=weakness.remote,
        description=weakness.description,
    )


def _fixed_in(weakness: Weakness, version: str) -> str | None:
    """The lowest version above the installed one in which it is fixed: the data lists those of all
    suites together, and a suite's own is the nearest."""
    order = version_order(version)
    above = [each for each in (*weakness.others, weakness.unstable) if version_order(each) > order]
    return min(above, key=version_order, default=None)
