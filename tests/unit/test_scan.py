"""Known vulnerabilities, and never "none" where that is not known (P8)."""

from __future__ import annotations

import hashlib
import http.server
import json
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import Result
from peers.serving import serving
from support.examples import digest, version
from support.insides import described, record
from support.security import CVES, DATA, document, packed, snapshot
from support.systems import OS_RELEASE, system
from support.trees import file

from imagectl.adapters.security import FileAdvisories
from imagectl.bootstrap.project import Project
from imagectl.cli.documents import schema
from imagectl.cli.scan import Scan
from imagectl.errors import CannotTell
from imagectl.formats.debsecan_v1 import parse_security
from imagectl.model.contents import Contents, DebianPackage, SourcePackage
from imagectl.model.names import Architecture, ImageName
from imagectl.model.security import SecurityData, Urgency
from imagectl.services.scan import scan, suite_of

Run = Callable[..., Result]
REF = "debian-base@20261120.1"
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


@pytest.fixture
def project(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("COLUMNS", "140")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    described(project, REF, system())
    return project


def taken(days: float = 0) -> datetime:
    """A time by the real clock, which the command line uses."""
    return datetime.now(UTC) - timedelta(days=days)


def answer(result: Result) -> Any:
    said = json.loads(result.stdout)
    jsonschema.validate(said, schema(Scan))
    return said


def test_the_packages_of_a_version_are_looked_up(
    project: Project, imagectl: Run, tmp_path: Path
) -> None:
    snapshot(tmp_path / "s", "bookworm", DATA, taken())
    said = answer(imagectl("scan", "debian-base", "--snapshot", str(tmp_path / "s"), "--json"))
    found = {(each["name"], each["package"]): each for each in said["vulnerabilities"]}
    assert set(found) == {
        ("CVE-2026-0001", "libc6"),
        ("CVE-2026-0002", "nginx"),
        ("CVE-2026-0003", "linux-image-6.1.0-31-amd64"),
        ("CVE-2026-0005", "exim4"),
    }
    libc = found["CVE-2026-0001", "libc6"]
    assert (libc["source"], libc["installed"]) == ("glibc", "2.36-9+deb12u10")
    assert (libc["fixed"], libc["fixed_in"]) == (True, "2.36-9+deb12u11")
    assert (libc["unstable"], libc["urgency"], libc["remote"]) == ("2.41-1", "high", True)
    assert libc["description"] == "a heap overflow, with a comma"
    nginx = found["CVE-2026-0002", "nginx"]
    assert (nginx["fixed"], nginx["fixed_in"], nginx["unstable"]) == (False, None, None)
    assert (nginx["urgency"], nginx["remote"]) == ("unassigned", None)
    kernel = found["CVE-2026-0003", "linux-image-6.1.0-31-amd64"]
    assert (kernel["source"], kernel["fixed_in"]) == ("linux", "6.1.133-1")
    assert said["counts"] == {"high": 1, "medium": 1, "low": 1, "unassigned": 1, "fixed": 2}
    assert said["packages"] == {"debian": 7, "pip": 2, "npm": 3}
    assert said["data"]["suite"] == "bookworm"


def test_text_for_people(project: Project, imagectl: Run, tmp_path: Path) -> None:
    snapshot(tmp_path / "s", "bookworm", DATA, taken(days=3))
    text = imagectl("scan", REF, "--snapshot", str(tmp_path / "s")).stdout
    first = text.splitlines()[1].split()
    assert first == [
        *("CVE-2026-0001", "libc6", "2.36-9+deb12u10", "2.36-9+deb12u11", "high", "yes")
    ]
    assert "4 findings, 4 different: 1 high, 1 medium, 1 low, 1 unassigned" in text
    assert "2 fixed in bookworm; a new build has the fixes" in text
    assert "7 Debian packages looked up, by data about bookworm of" in text
    assert "3 days ago" in text
    assert "NOT looked up: 2 pip packages and 3 npm packages" in text


def test_nothing_found_is_said_with_the_data(
    project: Project, imagectl: Run, tmp_path: Path
) -> None:
    snapshot(tmp_path / "s", "bookworm", document(CVES, ["vim,0,SH F,9:1,"]), taken())
    result = imagectl("scan", REF, "--snapshot", str(tmp_path / "s"), "--fail-on", "any")
    assert result.exit_code == 0
    assert f"{REF}: no known vulnerability" in result.stdout
    assert "7 Debian packages looked up" in result.stdout


@pytest.mark.parametrize(
    ("level", "code"), [("any", 3), ("low", 3), ("medium", 3), ("high", 3), (None, 0)]
)
def test_what_is_found_fails_on_demand_only(
    project: Project, imagectl: Run, tmp_path: Path, level: str | None, code: int
) -> None:
    snapshot(tmp_path / "s", "bookworm", DATA, taken())
    options = ["--fail-on", level] if level else []
    result = imagectl("scan", REF, "--snapshot", str(tmp_path / "s"), *options)
    assert result.exit_code == code
    assert "CVE-2026-0001" in result.stdout


def test_lower_urgencies_do_not_fail(project: Project, imagectl: Run, tmp_path: Path) -> None:
    data = document(CVES, ["exim4,4,SM  ,,", "nginx,1,S ? ,,"])
    snapshot(tmp_path / "s", "bookworm", data, taken())

    def code(level: str) -> int:
        options = ("--snapshot", str(tmp_path / "s"), "--fail-on", level)
        return imagectl("scan", REF, *options).exit_code

    assert [code(level) for level in ("any", "low", "medium", "high")] == [3, 3, 3, 0]


# What must not pass for "nothing found".


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda data: data[: len(data) // 2], "it is truncated"),
        (lambda data: data[:-1], "it is truncated"),
        (lambda data: b"", "it is truncated"),
        (lambda data: data + b"more", "something follows"),
        (lambda data: b"<html>not found</html>", "it is damaged"),
        (lambda data: packed("VERSION 2\n\n\n"), "its format is not known"),
        (lambda data: packed("VERSION 1\n\n\n"), "a part of it is missing or empty"),
        (lambda data: packed("VERSION 1\nCVE-1,,x\n\n"), "a part of it is missing or empty"),
        (lambda data: packed(document(CVES, [])), "a part of it is missing or empty"),
        (lambda data: packed(document(CVES, ["x,0,SH"])), "line 1 of its packages"),
        (lambda data: packed(document(CVES, ["x,99,SH F,,"])), "line 1 of its packages"),
        (lambda data: packed(document(CVES, ["x,-1,SH F,,"])), "line 1 of its packages"),
        (lambda data: packed(document(CVES, ["x,0,SX F,,"])), "line 1 of its packages"),
        (lambda data: zlib.compress(b"VERSION 1\n\xff\n\n"), "codec can't decode"),
    ],
)
def test_data_that_is_not_whole_is_refused(
    project: Project,
    imagectl: Run,
    tmp_path: Path,
    spoil: Callable[[bytes], bytes],
    why: str,
) -> None:
    snapshot(tmp_path / "s", "bookworm", spoil(packed(DATA)), taken())
    result = imagectl("scan", REF, "--snapshot", str(tmp_path / "s"))
    assert (result.exit_code, result.stdout) == (5, "")
    assert why in result.stderr


def test_a_flipped_bit_is_found(project: Project, imagectl: Run, tmp_path: Path) -> None:
    data = snapshot(tmp_path / "s", "bookworm", DATA, taken())
    data.write_bytes(data.read_bytes()[:-1] + b"\0")
    result = imagectl("scan", REF, "--snapshot", str(tmp_path / "s"))
    assert (result.exit_code, "is not what was fetched" in result.stderr) == (5, True)


def test_old_data_is_refused(project: Project, imagectl: Run, tmp_path: Path) -> None:
    snapshot(tmp_path / "s", "bookworm", DATA, taken(days=8))
    options = ("--snapshot", str(tmp_path / "s"))
    result = imagectl("scan", REF, *options)
    assert (result.exit_code, result.stdout) == (5, "")
    assert "the security data is too old" in result.stderr
    assert "8 d ago; 7 d are allowed" in result.stderr
    assert imagectl("scan", REF, *options, "--max-age", "9d").exit_code == 0
    assert imagectl("scan", REF, *options, "--max-age", "9 days").exit_code == 2


def test_data_of_the_future_is_of_no_known_age(
    project: Project, imagectl: Run, tmp_path: Path
) -> None:
    snapshot(tmp_path / "s", "bookworm", DATA, taken(days=-10))
    result = imagectl("scan", REF, "--snapshot", str(tmp_path / "s"))
    assert (result.exit_code, "not known how old" in result.stderr) == (5, True)


def test_data_about_another_suite_is_refused(
    project: Project, imagectl: Run, tmp_path: Path
) -> None:
    data = snapshot(tmp_path / "s", "trixie", DATA, taken())
    result = imagectl("scan", REF, "--snapshot", str(data))
    assert (result.exit_code, result.stdout) == (5, "")
    assert "does not cover bookworm" in result.stderr
    result = imagectl("scan", REF, "--snapshot", str(tmp_path / "s"))
    assert (result.exit_code, "there is no security data" in result.stderr) == (5, True)


def test_a_file_is_read_by_its_note(project: Project, imagectl: Run, tmp_path: Path) -> None:
    data = snapshot(tmp_path / "s", "bookworm", DATA, taken())
    assert imagectl("scan", REF, "--snapshot", str(data)).exit_code == 0
    note = tmp_path / "s" / "bookworm.json"
    assert imagectl("scan", REF, "--snapshot", str(note)).exit_code == 0
    note.write_text(note.read_text().replace("imagectl-security-1", "imagectl-security-9"))
    assert imagectl("scan", REF, "--snapshot", str(note)).exit_code == 5
    note.unlink()
    result = imagectl("scan", REF, "--snapshot", str(data))
    assert (result.exit_code, "no note beside it" in result.stderr) == (5, True)


def test_versions_of_which_nothing_is_known_are_not_without_flaws(
    project: Project, imagectl: Run, tmp_path: Path
) -> None:
    snapshot(tmp_path / "s", "bookworm", DATA, taken())
    record(project, version("debian-base@20261121.1"))
    result = imagectl("scan", "debian-base", "--snapshot", str(tmp_path / "s"))
    assert (result.exit_code, "it is not known what is in" in result.stderr) == (5, True)
    assert imagectl("scan", REF, "--snapshot", str(tmp_path / "s")).exit_code == 0


@pytest.mark.parametrize(
    ("name", "files", "why"),
    [
        ("fedora", [file(b"usr/lib/os-release", b"ID=fedora\n")], "its system is fedora"),
        ("empty", [file(b"var/lib/dpkg/status", b"")], "with 0 Debian packages"),
        (
            "sid",
            [file(b"usr/lib/os-release", OS_RELEASE.replace(b"VERSION_CODENAME", b"X"))],
            "has no VERSION_CODENAME",
        ),
    ],
)
def test_systems_that_the_data_is_not_about(
    project: Project, imagectl: Run, tmp_path: Path, name: str, files: Any, why: str
) -> None:
    snapshot(tmp_path / "s", "bookworm", DATA, taken())
    described(project, f"{name}@20261120.1", system(more=files))
    result = imagectl("scan", name, "--snapshot", str(tmp_path / "s"))
    assert (result.exit_code, result.stdout) == (5, "")
    assert why in result.stderr


def test_a_codename_is_never_a_path(tmp_path: Path) -> None:
    for name in ("../etc", "Bookworm", "a/b", ""):
        with pytest.raises(CannotTell, match="not the codename"):
            FileAdvisories(tmp_path, "http://mirror.example").fetch(name, NOW)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["debian-bse"], 6, "did you mean debian-base?"),
        (["debian-base:stabel"], 6, "points to nothing yet"),
        (["debian-base@20261101.1"], 6, "the catalog has no"),
        ([REF, "--snapshot", "/no/such"], 5, "there is no such file"),
        ([REF, "--fetch", "--snapshot", "."], 2, "cannot both be meant"),
        ([REF, "--fail-on", "grave"], 2, "'grave' is not one of"),
        ([REF], 5, "it does not say `security_data`"),
    ],
)
def test_what_is_typed_wrongly_is_told(
    project: Project, imagectl: Run, arguments: list[str], code: int, said: str
) -> None:
    result = imagectl("scan", *arguments)
    assert (result.exit_code, said in result.stderr) == (code, True)


# The network.


class Site:
    """A web server with the data. ``answer`` is what it says: status, headers, body."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = packed(DATA)
        self.url = ""


@pytest.fixture
def site() -> Iterator[Site]:
    served = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            self.send_response(served.status)
            headers = {"Content-Length": str(len(served.body)), **served.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(served.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}/release/1"
    with serving(server):
        yield served


def settle(project: Project, url: str) -> None:
    settings = project.root / "imagectl.yaml"
    settings.write_text(f"security_data: {url}\n")


def test_data_is_fetched_and_kept(project: Project, imagectl: Run, site: Site) -> None:
    settle(project, site.url)
    said = answer(imagectl("scan", REF, "--json"))
    assert said["counts"]["high"] == 1
    assert site.asked == ["/release/1/bookworm"]
    assert said["data"]["source"] == f"{site.url}/bookworm"
    assert said["data"]["sha256"] == hashlib.sha256(site.body).hexdigest()
    kept = project.root / ".imagectl/security"
    assert answer(imagectl("scan", REF, "--json", "--snapshot", str(kept))) == said
    assert imagectl("scan", REF).exit_code == 0
    assert len(site.asked) == 1, "it is fresh enough for a day"
    imagectl("scan", REF, "--fetch")
    assert len(site.asked) == 2


def test_old_copies_are_not_kept_for_ever(project: Project, imagectl: Run, site: Site) -> None:
    settle(project, site.url)
    for number in range(4):
        site.body = packed(DATA + f"more{number},\n")
        assert imagectl("scan", REF, "--fetch").exit_code == 0
    kept = list((project.root / ".imagectl/security").glob("*.debsecan"))
    assert len(kept) == 2


def test_what_is_kept_is_used_while_the_network_is_down(
    project: Project, imagectl: Run, site: Site
) -> None:
    settle(project, site.url)
    snapshot(project.root / ".imagectl/security", "bookworm", DATA, taken(days=3))
    site.status = 503
    result = imagectl("scan", REF)
    assert result.exit_code == 0
    assert "what is kept here is of" in result.stderr
    assert len(site.asked) == 1
    result = imagectl("scan", REF, "--fetch")
    assert (result.exit_code, "503" in result.stderr) == (5, True)
    result = imagectl("scan", REF, "--max-age", "2d")
    assert (result.exit_code, result.stdout) == (5, "")
    for part in ("503", "too old"):
        assert part in result.stderr


def test_a_stale_mirror_is_as_old_as_it_says(project: Project, imagectl: Run, site: Site) -> None:
    settle(project, site.url)
    site.headers = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    result = imagectl("scan", REF)
    assert (result.exit_code, "it is of 2026-01-01 00:00 UTC" in result.stderr) == (5, True)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"status": 404}, "there is no security data about bookworm"),
        ({"status": 500}, "the server says 500"),
        ({"headers": {"Content-Length": "1000000"}}, "bytes arrived"),
        ({"body": packed(DATA)[:100]}, "it is truncated"),
        ({"body": b"<html>please log in</html>"}, "it is damaged"),
    ],
)
def test_what_is_served_wrongly_is_not_kept(
    project: Project, imagectl: Run, site: Site, change: dict[str, Any], why: str
) -> None:
    settle(project, site.url)
    for name, value in change.items():
        setattr(site, name, value)
    result = imagectl("scan", REF)
    assert (result.exit_code, result.stdout) == (5, "")
    assert why in result.stderr
    assert not (project.root / ".imagectl/security").exists()


def test_a_server_that_is_not_there(project: Project, imagectl: Run) -> None:
    settle(project, "http://127.0.0.1:1/x")
    result = imagectl("scan", REF)
    assert (result.exit_code, "Connection refused" in result.stderr) == (5, True)


# The decision itself.


def contents(*packages: DebianPackage) -> Contents:
    return Contents(
        image=ImageName("x"),
        architecture=Architecture.AMD64,
        tree=digest("tree"),
        size=0,
        files=0,
        system={"ID": "debian", "VERSION_CODENAME": "bookworm"},
        debian=packages,
        pip=(),
        npm=(),
        services=(),
        masked=(),
        users=(),
        groups=(),
        kernels=(),
        ports=(),
    )


def vulnerable(version_: str, flags: str, unstable: str, others: str) -> list[str | None]:
    """The fix of each finding about a package ``foo`` of that version."""
    data = packed(document(CVES, [f"foo,0,{flags},{unstable},{others}"]))
    package = DebianPackage("foo", "amd64", version_, SourcePackage("foo", version_))
    known = SecurityData("bookworm", NOW, "here", digest("data"), parse_security(data, "here"))
    return [each.fixed_in for each in scan(contents(package), known).vulnerabilities]


@pytest.mark.parametrize(
    ("installed", "unstable", "others", "expected"),
    [
        ("1.0-1", "1.2-1", "1.0-1+deb12u1 0.9-1+deb11u1", ["1.0-1+deb12u1"]),
        ("1.0-1+deb12u1", "1.2-1", "1.0-1+deb12u1", []),
        ("1.2-1", "1.2-1", "", []),
        ("1.3", "1.2-1", "", []),
        ("1.0", "", "", [None]),
        ("1.0", "", "1.0", []),
        ("1.0-0", "", "1.0", []),
        ("1.2~rc1", "1.2", "", ["1.2"]),
        ("99", "", "1.0", [None]),
    ],
)
def test_what_is_vulnerable(
    installed: str, unstable: str, others: str, expected: list[str | None]
) -> None:
    assert vulnerable(installed, "SH F", unstable, others) == expected


def test_binary_packages_are_compared_by_their_own_version() -> None:
    data = packed(document(CVES, ["lib,0,BH  ,2.0,", "src,1,SH  ,9,"]))
    known = SecurityData("bookworm", NOW, "here", digest("data"), parse_security(data, "here"))
    old = DebianPackage("lib", "amd64", "1.0", SourcePackage("src", "8"))
    new = DebianPackage("lib", "amd64", "2.0", SourcePackage("src", "9"))
    assert [each.name for each in scan(contents(old), known).vulnerabilities] == [
        *("CVE-2026-0001", "CVE-2026-0002")
    ]
    assert scan(contents(new), known).vulnerabilities == ()


def test_only_signed_packages_are_looked_up_by_what_they_were_built_using() -> None:
    data = packed(document(CVES, ["golang,0,SH  ,9,"]))
    known = SecurityData("bookworm", NOW, "here", digest("data"), parse_security(data, "here"))
    using = (SourcePackage("golang", "1"),)
    for source, expected in (("docker.io", 0), ("shim-signed", 1), ("linux-signed-arm64", 1)):
        package = DebianPackage("p", "amd64", "1", SourcePackage(source, "1"), using)
        assert len(scan(contents(package), known).vulnerabilities) == expected


def test_the_suite_is_the_systems_own() -> None:
    package = DebianPackage("p", "amd64", "1", SourcePackage("p", "1"))
    assert suite_of(contents(package), "x") == "bookworm"
    with pytest.raises(CannotTell):
        suite_of(contents(), "x")


def test_urgencies_are_all_known() -> None:
    lines = [f"p{flag},0,S{flag}  ,," for flag in "HML "]
    found = parse_security(packed(document(CVES, lines)), "here")
    assert {each[0].urgency for each in found.values()} == set(Urgency)
