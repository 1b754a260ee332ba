"""``imagectl scan``: the known vulnerabilities of a version."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import click

from imagectl.cli.arguments import DURATION, IMAGE_REF
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.refs import version_of
from imagectl.cli.text import age, stamp, table
from imagectl.cli.verb import Verb
from imagectl.errors import BadUsage
from imagectl.policy.wording import counted, moment

if TYPE_CHECKING:
    from imagectl.bootstrap.project import Project
    from imagectl.model.contents import Contents
    from imagectl.model.names import ImageRef
    from imagectl.model.security import Vulnerability
    from imagectl.model.version import Version
    from imagectl.services.scan import Scanned

LEVELS = ("any", "low", "medium", "high")
"""What ``--fail-on`` takes."""


class ScanData(TypedDict):
    """The data that was used."""

    suite: Annotated[str, "the suite that it is about"]
    taken: Annotated[str, "of when it is"]
    source: Annotated[str, "where it was fetched from"]
    sha256: Annotated[str, "digest of the file, as served"]


class ScanVulnerability(TypedDict):
    """A vulnerability of one package."""

    name: Annotated[str, "its name, such as `CVE-2026-1234`"]
    package: Annotated[str, "the package that has it"]
    architecture: Annotated[str, "that package's architecture"]
    installed: Annotated[str, "that package's version"]
    source: Annotated[str, "the source package that it is known of"]
    fixed: Annotated[bool, "whether the suite has a version in which it is fixed"]
    fixed_in: Annotated[str | None, "that version; null where there is none or it is not known"]
    unstable: Annotated[str | None, "the version in which unstable has it fixed; null where none"]
    urgency: Annotated[
        Literal["high", "medium", "low", "unassigned"], "how urgent Debian's security team has it"
    ]
    remote: Annotated[bool | None, "whether it can be used over a network; null where not known"]
    description: Annotated[str, "what it is, in a few words"]


class ScanCounts(TypedDict):
    """How many there are."""

    high: Annotated[int, "of high urgency"]
    medium: Annotated[int, "of medium urgency"]
    low: Annotated[int, "of low urgency"]
    unassigned: Annotated[int, "that nobody has judged yet"]
    fixed: Annotated[int, "of all of them, those that the suite has fixed: rebuild the image"]


class ScanPackages(TypedDict):
    """How many packages there are."""

    debian: Annotated[int, "Debian's; these were looked up"]
    pip: Annotated[int, "Python's, which were NOT: Debian's data does not know them"]
    npm: Annotated[int, "Node's, which were NOT either"]


class Scan(TypedDict):
    """The known vulnerabilities of one version."""

    image: Annotated[str, "the image"]
    version: Annotated[str, "the version"]
    data: Annotated[ScanData, "by which data"]
    packages: Annotated[ScanPackages, "what was looked up, and what was not"]
    counts: Annotated[ScanCounts, "how many vulnerabilities of which urgency, by package"]
    vulnerabilities: Annotated[list[ScanVulnerability], "each of them, the most urgent first"]


@click.command(
    "scan",
    cls=Verb,
    answers=Scan,
    exits={
        0: "scanned, whether or not something was found",
        3: "with --fail-on: something of that urgency or above was found",
        5: "cannot tell: the security data is missing, too old, damaged or about another suite, or "
        "it is not known what is in the version",
        6: "there is no such image, channel or version",
    },
    examples=[
        ("imagectl scan debian-ci", "the newest version"),
        ("imagectl scan debian-ci:stable --fail-on high", "in CI: is what is in use safe enough?"),
        ("imagectl scan debian-ci:stable --snapshot /media/usb/security", "without a network"),
    ],
)
@click.argument(
    "ref",
    metavar="IMAGE[@VERSION|:CHANNEL]",
    type=IMAGE_REF,
    help="A version, or what a channel points to; an IMAGE alone means its newest version.",
)
@click.option(
    "--snapshot",
    metavar="FILE|DIR",
    type=click.Path(path_type=Path),
    help="Use this data only: a copy of .imagectl/security, or a file of it.",
)
@click.option("--fetch", is_flag=True, help="Fetch the data anew, however fresh what is kept is.")
@click.option(
    "--max-age",
    metavar="DURATION",
    type=DURATION,
    default="7d",
    show_default=True,
    help="Refuse data that is older.",
)
@click.option(
    "--fail-on",
    metavar="URGENCY",
    type=click.Choice(LEVELS),
    help=f"Exit with 3 where something of that urgency or above is found: {', '.join(LEVELS)}.",
)
@pass_invocation
def command(
    invocation: Invocation,
    ref: ImageRef,
    snapshot: Path | None,
    fetch: bool,
    max_age: timedelta,
    fail_on: str | None,
) -> int:
    """List the known vulnerabilities of a version.

    Looks up its Debian packages, signed kernels included, in Debian's security data: the same that
    debsecan(1) reads. `security_data` in imagectl.yaml says where it is fetched from. What was
    fetched is kept in .imagectl/security, with its date and digest, is used for a day, and where
    the network cannot be reached, until it is older than --max-age. That nothing was found is only
    said of data that is whole, young enough, and about the version's suite.
    """
    from imagectl.services.diff import look
    from imagectl.services.scan import obtain, scan, suite_of

    if snapshot is not None and fetch:
        raise BadUsage("--snapshot and --fetch cannot both be meant", hint="leave one of them out")
    project = invocation.open_project()
    with invocation.out.progress(project.clock, ref.image) as progress:
        version = _version(project, ref)
        (seen,) = look(project.documents, version)
        now = project.clock.now()
        data = obtain(
            project.advisories,
            suite_of(seen.contents, str(version.ref)),
            now,
            max_age,
            fetch=fetch,
            snapshot=snapshot,
            progress=progress,
        )
    scanned = scan(seen.contents, data)
    invocation.out.answer(
        _document(version, seen.contents, scanned), _lines(version, seen.contents, scanned, now)
    )
    grave = [each for each in scanned.vulnerabilities if _reaches(each, fail_on)]
    if grave:
        invocation.out.warn(f"{counted(len(grave), 'finding')} by --fail-on {fail_on}")
        return 3
    return 0


def _version(project: Project, ref: ImageRef) -> Version:
    from imagectl.policy.promotion import find_image

    snapshot = project.catalog.snapshot([ref.image])
    if ref.image not in snapshot.images:
        snapshot = project.catalog.snapshot()  # to say what there is
    if ref.channel is None and ref.version is None:
        return snapshot.of(find_image(snapshot, ref.image))[-1]
    return version_of(snapshot, ref, "scan")


def _reaches(found: Vulnerability, level: str | None) -> bool:
    if level is None or level == "any":
        return level is not None
    urgency = found.urgency.value
    return urgency in LEVELS and LEVELS.index(urgency) >= LEVELS.index(level)


def _document(version: Version, contents: Contents, scanned: Scanned) -> Scan:
    from imagectl.model.security import Urgency

    return Scan(
        image=version.image,
        version=str(version.id),
        data={
            "suite": scanned.data.suite,
            "taken": stamp(scanned.data.taken),
            "source": scanned.data.source,
            "sha256": scanned.data.sha256,
        },
        packages={
            "debian": len(contents.debian),
            "pip": len(contents.pip),
            "npm": len(contents.npm),
        },
        counts={
            "high": len(scanned.of(Urgency.HIGH)),
            "medium": len(scanned.of(Urgency.MEDIUM)),
            "low": len(scanned.of(Urgency.LOW)),
            "unassigned": len(scanned.of(Urgency.UNASSIGNED)),
            "fixed": sum(each.fixed for each in scanned.vulnerabilities),
        },
        vulnerabilities=[
            {
                "name": each.name,
                "package": each.package,
                "architecture": each.architecture,
                "installed": each.installed,
                "source": each.source,
                "fixed": each.fixed,
                "fixed_in": each.fixed_in,
                "unstable": each.unstable,
                "urgency": each.urgency.value,
                "remote": each.remote,
                "description": each.description,
            }
            for each in scanned.vulnerabilities
        ],
    )


def _lines(version: Version, contents: Contents, scanned: Scanned, now: datetime) -> Iterator[str]:
    from imagectl.model.security import Urgency

    found, data = scanned.vulnerabilities, scanned.data
    if found:
        header = ("NAME", "PACKAGE", "INSTALLED", "FIXED IN", "URGENCY", "REMOTE")
        yield from table(header, [_row(each) for each in found])
        yield ""
        counts = ", ".join(
            f"{len(scanned.of(urgency))} {urgency.value}"
            for urgency in Urgency
            if scanned.of(urgency)
        )
        fixed = sum(each.fixed for each in found)
        names = len({each.name for each in found})
        yield f"{version.ref}: {counted(len(found), 'finding')}, {names} different: {counts}"
        yield f"{fixed} fixed in {data.suite}" + ("; a new build has the fixes" if fixed else "")
    else:
        yield f"{version.ref}: no known vulnerability"
    yield (
        f"{counted(len(contents.debian), 'Debian package')} looked up, by data about {data.suite} "
        f"of {moment(data.taken)}, {age(data.taken, now)}"
    )
    others = [
        counted(len(packages), f"{kind} package")
        for kind, packages in (("pip", contents.pip), ("npm", contents.npm))
        if packages
    ]
    if others:
        yield f"NOT looked up: {' and '.join(others)}, which Debian's data does not know"


def _row(found: Vulnerability) -> tuple[str, ...]:
    remote = {True: "yes", False: "no", None: "?"}[found.remote]
    fixed = found.fixed_in or ("yes" if found.fixed else "-")
    return (found.name, found.package, found.installed, fixed, found.urgency.value, remote)
