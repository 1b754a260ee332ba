from __future__ import annotations

from pathlib import Path

import pytest

from imagectl.adapters.mirrors import Mirror, host_mirror
from imagectl.errors import NotFound

BOTH = Mirror("http://mirror.example/debian", "http://mirror.example/debian-security")

DEB822 = """\
Types: deb
# a comment in between
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb-src http://source.example/debian bookworm main
deb [arch=amd64 signed-by=/k/debian-archive-keyring.gpg] http://mirror.example/debian bookworm main
deb http://mirror.example/debian bookworm-updates main
deb http://mirror.example/debian-security bookworm-security main # with a comment
"""
FOREIGN = """\
deb [signed-by=/usr/share/keyrings/vendor.gpg] http://vendor.example/debian bookworm main
deb http://vendor.example/apt nodistro main
deb http://vendor.example/debian bookworm stable
deb cdrom:[Debian]/ bookworm main
deb mirror+file:/etc/apt/mirrors.list bookworm main
"""


def host(folder: Path, **files: str) -> Mirror:
    """The mirror of a machine with these files, named as in ``sources.list.d``."""
    (folder / "sources.list.d").mkdir(exist_ok=True)
    for name, text in files.items():
        where = folder if name == "sources_list" else folder / "sources.list.d"
        (where / name.replace("_", ".")).write_text(text)
    (folder / "os-release").write_text('NAME="Debian"\nVERSION_CODENAME=bookworm\n')
    return host_mirror(folder, folder / "os-release")


def test_the_newer_form(tmp_path: Path) -> None:
    assert host(tmp_path, debian_sources=DEB822) == BOTH


def test_the_older_form(tmp_path: Path) -> None:
    assert host(tmp_path, sources_list=ONE_LINE) == BOTH


def test_other_peoples_repositories_do_not_count(tmp_path: Path) -> None:
    assert host(tmp_path, a_list=FOREIGN, debian_sources=DEB822) == BOTH
    with pytest.raises(NotFound, match="no Debian mirror"):
        host(tmp_path, debian_sources="")


def test_the_first_entry_counts(tmp_path: Path) -> None:
    other = DEB822.replace("mirror.example", "second.example")
    assert host(tmp_path, a_sources=DEB822, b_sources=other) == BOTH


def test_entries_that_are_off_do_not_count(tmp_path: Path) -> None:
    off = DEB822.replace("mirror.example", "off.example").replace(
        "Types: deb", "Enabled: no\nTypes: deb"
    )
    assert host(tmp_path, a_sources=off, b_sources=DEB822, c_sources_off=FOREIGN) == BOTH


def test_a_machine_may_have_no_security_archive(tmp_path: Path) -> None:
    only = DEB822.partition("\n\n")[0]
    assert host(tmp_path, debian_sources=only) == Mirror(BOTH.archive, None)


def test_nothing_configured(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        host_mirror(tmp_path / "gone", tmp_path / "gone")
    assert "mirror" in caught.value.hint
