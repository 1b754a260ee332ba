"""A project with some history, for tests of what people are shown of it: releases, a rollback, a
revoked version, hostile words, versions of which nothing is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from imagectl.bootstrap.project import Project
from imagectl.formats.contents_v1 import write_contents, write_listed
from imagectl.model.announcement import AnnouncedKind, Brownout
from imagectl.model.change import (
    AnnounceDeprecation,
    AnnounceMove,
    Change,
    MoveChannel,
    Operation,
    RecordPlacement,
    RecordVersion,
    RevokeVersion,
    StepVersion,
    WithdrawAnnouncement,
)
from imagectl.model.channel import MoveKind
from imagectl.model.contents import (
    Contents,
    DebianPackage,
    Group,
    LanguagePackage,
    Listed,
    SourcePackage,
    User,
)
from imagectl.model.names import Architecture, Format, Sha256, parse_image_ref
from imagectl.model.retention import Stage
from imagectl.model.version import (
    Artifact,
    Inside,
    Reproducible,
    TestSummary,
    Tree,
    Version,
    VersionRef,
)
from imagectl.testing.clock import FixedClock
from support.examples import BETA, NOW, STABLE, digest, locked, placement, ref
from support.projects import new_project, store_text
from support.security import document, snapshot

HOSTILE = '<script>alert(1)</script> & "quotes" ]]> \x1b[31mred\x1b[0m \u202eevil\nsecond line'
"""A reason that somebody may type."""

PACKAGES = """
adduser apt base-files bash bsdutils ca-certificates coreutils curl dash debconf dpkg e2fsprogs
findutils gcc-12-base git grep grub-common gzip hostname init iproute2 jq kmod less libc6
libcurl4 libssl3 login mount nginx openssh-server openssl passwd perl-base procps python3 rsync
sed systemd tar tzdata udev util-linux vim-tiny wget zlib1g
"""
NAMES = PACKAGES.split()

WEAK = document(
    [
        "CVE-2026-1001,,a heap overflow when a certificate is parsed",
        "CVE-2026-1002,,<b>bold</b> claims in a description",
        "CVE-2026-1003,,nobody has judged it",
    ],
    ["openssl,0,SHRF,3.0.16-1,", "curl,1,SMRF,7.88.1-12,", "vim,2,SL  ,,"],
)


class Gallery:
    """The project, and the time at which its next event happens."""

    def __init__(self, folder: Path) -> None:
        self.project = new_project(folder)
        self.at = NOW - timedelta(days=50)

    def later(self, days: float) -> None:
        self.at += timedelta(days=days)

    def built(
        self,
        text: str,
        *,
        packages: Sequence[tuple[str, str]] = (),
        summary: str = "Debian 12 with all that a CI worker needs",
        known: bool = True,
        failed: int = 0,
    ) -> VersionRef:
        """A build: recorded, placed, and in beta. *packages* have another version than the rest."""
        made = self._version(text, dict(packages), known, failed)
        made = replace(made, created=self.at, summary=summary)
        where = replace(
            placement(text, at=self.at),
            sha256=made.artifacts[0].sha256,
            size=made.artifacts[0].size,
        )
        self.commit(
            f"built {text}",
            RecordVersion(made),
            RecordPlacement(where),
            MoveChannel(made.image, BETA, made.id, MoveKind.ENTRY),
        )
        return made.ref

    def promoted(self, text: str, reason: str, kind: MoveKind = MoveKind.PROMOTE) -> None:
        to = ref(text)
        self.commit(reason, MoveChannel(to.image, STABLE, to.version, kind))

    def revoked(self, text: str, reason: str) -> None:
        self.commit(reason, RevokeVersion(ref(text)))

    def deprecated(self, text: str, reason: str) -> None:
        self.commit(reason, StepVersion(ref(text), Stage.DEPRECATED))

    def announced(self, text: str, days: float, reason: str) -> None:
        """Stable goes there, *days* after NOW."""
        to = ref(text)
        self.commit(reason, AnnounceMove(to.image, STABLE, to.version, NOW + timedelta(days=days)))

    def ending(self, of: str, days: float, reason: str, successor: str = "") -> None:
        """It is not supported any more, *days* after NOW; with a brownout where it has another."""
        due = NOW + timedelta(days=days)
        brownout = Brownout(due - timedelta(days=2), due - timedelta(days=1.9))
        to = parse_image_ref(successor) if successor else None
        times = (brownout,) if to else ()
        self.commit(reason, AnnounceDeprecation(parse_image_ref(of), due, to, times))

    def withdrawn(self, of: str, kind: AnnouncedKind, reason: str) -> None:
        self.commit(reason, WithdrawAnnouncement(parse_image_ref(of), kind))

    def commit(self, reason: str, *operations: Operation) -> None:
        catalog = self.project.catalog
        based_on = catalog.snapshot(()).generation
        key = f"key {based_on}"
        catalog.commit(
            Change(key, based_on, "ana@build1", "test", reason, self.at, tuple(operations))
        )

    def _version(self, text: str, packages: dict[str, str], known: bool, failed: int) -> Version:
        made = locked(text, Reproducible.YES)
        outcomes = {f"test_base.py::test_{name}": "passed" for name in ("boots", "ssh", "time")}
        outcomes |= {f"test_ci.py::test_broken_{n}": "failed" for n in range(failed)}
        results = [
            {"suite": name.partition("::")[0], "test": name.partition("::")[2], "outcome": outcome}
            for name, outcome in outcomes.items()
        ]
        report = store_text(self.project, json.dumps({"v": 1, "results": results}))
        serial = made.id.serial
        return replace(
            made,
            artifacts=(
                Artifact(
                    Format.QCOW2, Architecture.AMD64, digest(text), (300 << 20) + (serial << 20)
                ),
            ),
            tests=TestSummary(len(outcomes) - failed, failed, 4.25, report, digest("console")),
            tree=made.tree,
            inside=self._inside(text, made.tree, packages) if known else None,
            origin=made.origin if known else None,
        )

    def _inside(self, text: str, tree: Tree | None, packages: dict[str, str]) -> Inside:
        assert tree is not None
        debian = tuple(
            DebianPackage(
                name,
                "amd64",
                packages.get(name, f"1.{number}.0-1+deb12u1"),
                SourcePackage({"libssl3": "openssl", "libcurl4": "curl"}.get(name, name), "1"),
            )
            for number, name in enumerate(NAMES)
        )
        debian = tuple(
            replace(each, source=SourcePackage(each.source.name, each.version)) for each in debian
        )
        contents = Contents(
            image=ref(text).image,
            architecture=Architecture.AMD64,
            tree=tree.sha256,
            size=tree.size,
            files=23_549,
            system={
                "ID": "debian",
                "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)",
                "VERSION_CODENAME": "bookworm",
            },
            debian=debian,
            pip=(LanguagePackage("ansible-core", "/opt/venv/lib/python3.11", "2.17.4"),),
            npm=(),
            services=("cron.service", "nginx.service", "ssh.service"),
            masked=(),
            users=(User("ci", 1000, 1000, "/home/ci", "/bin/bash"), User("root", 0, 0, "/", "")),
            groups=(Group("ci", 1000, ()),),
            kernels=("6.1.0-31-cloud-amd64",),
            ports=("tcp 22", "tcp 443", "tcp 80") if "jq" in packages else ("tcp 22", "tcp 80"),
        )
        paths = [f"/usr/bin/{name}" for name in sorted(NAMES)]
        manifest = "".join(
            write_listed(
                Listed(path, "file", 0o755, 0, 0, 10, digest(f"{path} {packages.get(path[9:])}"))
            )
            for path in paths
        )
        return Inside(
            contents=self._store(write_contents(contents)),
            manifest=self._store(manifest),
            spdx=self._store(json.dumps({"spdxVersion": "SPDX-2.3", "name": text})),
            cyclonedx=self._store(json.dumps({"bomFormat": "CycloneDX", "name": text})),
            provenance=self._store(json.dumps({"payload": "", "name": text})),
        )

    def _store(self, text: str) -> Sha256:
        return store_text(self.project, text)


def gallery(folder: Path, now: datetime = NOW, *, announced: bool = False) -> Project:
    """Some weeks of two images, seen at *now*; *announced*: with what is coming."""
    made = Gallery(folder)
    ssl = [("openssl", "3.0.15-1"), ("libssl3", "3.0.15-1"), ("curl", "7.88.1-10")]
    fixed = [("openssl", "3.0.16-1"), ("libssl3", "3.0.16-1"), ("curl", "7.88.1-10")]
    made.built("debian-base@20261001.1", packages=ssl, summary="Debian 12, ready to be built upon")
    made.later(0.2)
    made.built("debian-ci@20261001.1", packages=ssl, known=False)
    made.later(2)
    made.promoted("debian-base@20261001.1", "first release")
    made.promoted("debian-ci@20261001.1", "first release, with base")
    made.later(7)
    made.built("debian-ci@20261010.1", packages=ssl)
    made.later(4)
    made.promoted("debian-ci@20261010.1", "monthly updates; soaked four days in beta")
    made.later(5)
    made.built("debian-ci@20261019.1", packages=[*ssl, ("git", "2.40-1")])
    made.later(2)
    made.promoted("debian-ci@20261019.1", "newer git")
    made.later(1)
    made.promoted(
        "debian-ci@20261010.1", "git clone fails behind our proxy", kind=MoveKind.ROLLBACK
    )
    made.later(0.1)
    made.revoked("debian-ci@20261019.1", "git clone fails behind our proxy: do not use it")
    made.later(8)
    made.built("debian-ci@20261029.1", packages=[*ssl, ("git", "2.41-1")])
    made.later(3)
    made.promoted("debian-ci@20261029.1", HOSTILE)
    made.later(1)
    made.deprecated("debian-ci@20261001.1", "nobody has used it for a month")
    made.later(6)
    made.built(
        "debian-base@20261110.1", packages=fixed, summary="Debian 12, ready to be built upon"
    )
    made.later(4)
    made.promoted("debian-base@20261110.1", "OpenSSL 3.0.16")
    made.later(3)
    made.built("debian-ci@20261117.1", packages=[*fixed, ("git", "2.42-1"), ("jq", "1.22-1")])
    if announced:
        made.later(1)
        made.announced("debian-ci@20261117.1", 5, "newer git and jq")
        made.ending("debian-base", 60, HOSTILE, successor="debian-ci:stable")
        made.ending("debian-ci@20261010.1", 20, "old OpenSSL")
        made.ending("debian-ci:beta", 30, "too few use it")
        made.later(0.5)
        made.announced("debian-ci@20261117.1", 7, f"put off: {HOSTILE}")
        made.withdrawn("debian-ci:beta", AnnouncedKind.DEPRECATION, "many use it")
    rules = made.project.root / "catalog/channels.yaml"
    rules.write_text(rules.read_text().replace("from: beta,", "from: beta, soak: 5d,"))
    made.project.clock = FixedClock(now)  # type: ignore[assignment]  # seen at that time
    taken = now - timedelta(hours=5)
    snapshot(made.project.state / "security", "bookworm", WEAK, taken)
    return made.project
