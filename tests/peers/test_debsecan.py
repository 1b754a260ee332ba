"""debsecan itself finds the same, in the same data: of any data, and any packages."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import NOW, digest
from support.security import CVES, DATA, document, packed
from support.systems import DPKG, canonical, stanza, system

from imagectl.adapters.inside.dpkg import debian_packages
from imagectl.adapters.inside.tree import Tree
from imagectl.formats.debsecan_v1 import parse_security
from imagectl.model.contents import Contents
from imagectl.model.names import Architecture, ImageName
from imagectl.model.security import SecurityData
from imagectl.services.scan import scan

Found = set[tuple[str, str]]


def by_debsecan(dpkg: str, data: str, folder: Path) -> Found:
    """(vulnerability, package) of each line that debsecan prints."""
    # Unlike dpkg, it takes one empty line between packages, not several.
    (folder / "status").write_text(re.sub(r"\n{3,}", "\n\n", dpkg.strip("\n")) + "\n")
    (folder / "bookworm").write_bytes(packed(data))
    said = subprocess.run(
        [
            *("debsecan", "--suite=bookworm", f"--source=file://{folder}/", "--format=simple"),
            *(f"--status={folder}/status", "--config=/dev/null"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = (line.split() for line in said.stdout.splitlines())
    return {(name, package) for name, package in lines}


def by_us(dpkg: str, data: str, folder: Path) -> Found:
    with Tree(canonical(system(dpkg=dpkg), folder / "tree.tar").path) as tree:
        packages = debian_packages(tree)
    contents = Contents(
        image=ImageName("x"),
        architecture=Architecture.AMD64,
        tree=digest("tree"),
        size=0,
        files=0,
        system={},
        debian=packages,
        **dict.fromkeys(
            ("pip", "npm", "services", "masked", "users", "groups", "kernels", "ports"), ()
        ),
    )
    known = SecurityData("bookworm", NOW, "x", digest("x"), parse_security(packed(data), "x"))
    return {(each.name, each.package) for each in scan(contents, known).vulnerabilities}


def test_debsecan_finds_the_same_but_for_signed_packages(tmp_path: Path) -> None:
    ours = by_us(DPKG, DATA, tmp_path)
    kernel = ("CVE-2026-0003", "linux-image-6.1.0-31-amd64")
    assert kernel in ours
    assert by_debsecan(DPKG, DATA, tmp_path) == ours - {kernel}


versions = st.sampled_from(
    ["1.0-1", "1.0-1+deb12u1", "1.0-1+b1", "1:0.9-2", "1.0~rc1-1", "2.0-1", "1.0", "0"]
)
names = st.sampled_from(["foo", "bar", "libbaz1"])
packages = st.dictionaries(names, st.tuples(versions, names, versions), min_size=1, max_size=3)
weaknesses = st.lists(
    st.builds(
        lambda name, cve, flags, unstable, others: (
            f"{name},{cve},S{flags},{unstable},{' '.join(others)}"
        ),
        names,
        st.integers(0, 4),
        st.sampled_from(["HRF", "M  ", "L? ", "   "]),
        st.one_of(st.just(""), versions),
        st.lists(versions, max_size=2),
    ),
    min_size=1,
    max_size=5,
)


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(packages, weaknesses)
def test_debsecan_finds_the_same_in_any_data(
    tmp_path: Path, installed: dict[str, tuple[str, str, str]], lines: list[str]
) -> None:
    dpkg = "\n".join(
        stanza(name, version, source=f"{source} ({source_version})")
        for name, (version, source, source_version) in installed.items()
    )
    data = document(CVES, lines)
    assert by_us(dpkg, data, tmp_path) == by_debsecan(dpkg, data, tmp_path)
