"""What mmdebstrap and apt say, put into one sentence. The texts are theirs, shortened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagectl.adapters.mirrors import Mirror
from imagectl.adapters.mmdebstrap import Recipe, Route, explain, make_root, source_lines
from imagectl.errors import BuildFailed, CannotTell, ToolFailed
from imagectl.model.lock import Access

MIRROR = Mirror("http://mirror.example/debian", "http://mirror.example/debian-security")
FAILURE = ToolFailed("making a Debian trixie", command="mmdebstrap", status=2, tail="the tail")
RECIPE = Recipe("trixie", ("curl",))

NO_SUITE = """\
Ign:1 http://mirror.example/debian trixie InRelease
Err:4 http://mirror.example/debian trixie Release
  404  Not Found [IP: 192.0.2.1 80]
E: The repository 'http://mirror.example/debian trixie Release' does not have a Release file.
E: apt-get update --error-on=any -oAPT::Status-Fd=<$fd> -oDpkg::Use-Pty=false failed
E: mmdebstrap failed to run
"""
NO_PACKAGE = """\
I: installing remaining packages inside the chroot...
E: Unable to locate package no-such-thing
E: Unable to locate package neither
E: setup failed: E: apt-get install no-such-thing failed
"""
VIRTUAL = """\
Package awk is a virtual package provided by:
  original-awk 2025-01-16-1
E: Package 'awk' has no installation candidate
"""
BAD_SIGNATURE = """\
Err:1 http://mirror.example/debian trixie InRelease
  The following signatures were invalid: BADSIG 6ED0E7B82643E131 Debian Archive
W: GPG error: http://mirror.example/debian trixie InRelease: The following signatures were \
invalid: BADSIG 6ED0E7B82643E131 Debian Archive
E: The repository 'http://mirror.example/debian trixie InRelease' is not signed.
"""
NO_KEY = """\
W: GPG error: http://mirror.example/debian trixie InRelease: The following signatures couldn't be \
verified because the public key is not available: NO_PUBKEY 762F67A0B2C39DE4
E: The repository 'http://mirror.example/debian trixie InRelease' is not signed.
"""
EXPIRED = """\
E: Release file for http://mirror.example/debian/dists/trixie/InRelease is expired (invalid since \
9d 3h). Updates for this repository will not be applied.
"""
UNREACHABLE = """\
Err:1 http://mirror.example/debian trixie InRelease
  Could not resolve 'mirror.example'
E: Failed to fetch http://mirror.example/debian/dists/trixie/InRelease  Could not resolve \
'mirror.example'
"""
CONFLICT = """\
The following packages have unmet dependencies:
 systemd-sysv : Conflicts: sysvinit-core but 3.14-4 is to be installed
 sysvinit-core : Depends: initscripts but it is not installable
E: Unable to correct problems, you have held broken packages.
"""


@pytest.mark.parametrize(
    ("text", "kind", "what", "why"),
    [
        (NO_SUITE, BuildFailed, "no Debian suite 'trixie'", "does not have a Release file"),
        (NO_PACKAGE, BuildFailed, "trixie has no package no-such-thing, neither", "main of http"),
        (VIRTUAL, BuildFailed, "trixie has no package awk", "main of http"),
        (BAD_SIGNATURE, BuildFailed, "signature on Debian trixie is not good", "BADSIG"),
        (NO_KEY, BuildFailed, "signature on Debian trixie is not good", "NO_PUBKEY"),
        (EXPIRED, BuildFailed, "index of Debian trixie is expired", "invalid since"),
        (UNREACHABLE, CannotTell, "mirror cannot be reached", "Could not resolve"),
        (CONFLICT, BuildFailed, "packages do not fit together", "systemd-sysv : Conflicts"),
    ],
)
def test_one_sentence_says_what_is_wrong(text: str, kind: type, what: str, why: str) -> None:
    error = explain(FAILURE, text, RECIPE, MIRROR)
    assert type(error) is kind
    assert what in error.what
    assert why in error.why
    assert error.hint


def test_what_is_not_known_stays_as_it_is() -> None:
    assert explain(FAILURE, "E: something new", RECIPE, MIRROR) is FAILURE


def test_updates_and_security_fixes_belong_to_a_suite() -> None:
    assert source_lines("trixie", ("main", "contrib"), MIRROR) == [
        "deb http://mirror.example/debian trixie main contrib",
        "deb http://mirror.example/debian trixie-updates main contrib",
        "deb http://mirror.example/debian-security trixie-security main contrib",
    ]
    assert len(source_lines("trixie", ("main",), Mirror(MIRROR.archive, None))) == 2


def test_a_folder_that_apt_cannot_work_in_is_told(tmp_path: Path) -> None:
    work = tmp_path / 'a "quoted" folder'
    work.mkdir()
    with pytest.raises(BuildFailed, match="double quote") as caught:
        make_root(RECIPE, MIRROR, work, work / "out")
    assert caught.value.where == str(work)


def test_dpkg_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 20,000 files took milliseconds, in a root that is removed as soon as it is packed."""
    program = tmp_path / "bin" / "mmdebstrap"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        "dpkg --force-help > /dev/null || exit 1  # it knows all that it is told\n"
        'for each; do case $each in *.unfinished) echo "$DPKG_FORCE" > "$each";; esac; done\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    out = tmp_path / "root.tar"
    make_root(RECIPE, MIRROR, tmp_path, out)
    assert "unsafe-io" in out.read_text().strip().split(",")


def route(access: Access) -> Route:
    return Route("http://127.0.0.1:8080", Path("/w/ca.pem"), access)


@pytest.mark.parametrize("access", list(Access))
def test_signatures_count_unless_every_byte_is_compared_with_a_lock(access: Access) -> None:
    verified = access in (Access.LOCKED, Access.OFFLINE)
    assert route(access).verified is verified
    lines = source_lines("trixie", ["main"], MIRROR, trusted=route(access).verified)
    assert len(lines) == 3
    assert all(("[trusted=yes]" in line) is verified for line in lines)


@pytest.mark.parametrize("access", list(Access))
def test_the_age_of_indexes_counts_when_they_are_new(access: Access) -> None:
    options = " ".join(route(access).apt_options())
    assert ("Check-Valid-Until" in options) is (access is not Access.RECORD)
    assert 'Acquire::http::Proxy "http://127.0.0.1:8080"' in options
    assert 'Acquire::https::CaInfo "/w/ca.pem"' in options
