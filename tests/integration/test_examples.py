"""The two example images of this repository, built, proven and released for real; and made again,
a year later, by somebody else, somewhere else, with no network at all (P9)."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peers.registry import PASSWORD, USER, docker_registry
from support.examples import ref
from support.installed import answered, imagectl

from imagectl.bootstrap.project import open_project

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(5400)]

REPOSITORY = Path(__file__).parents[2]
STRANGER = 4242
"""The number of a user that no machine has."""


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """The examples, in a folder that any user may enter."""
    root = Path(tempfile.mkdtemp(prefix="imagectl-test-", dir="/var/tmp"))
    root.chmod(0o755)
    for name in ("images", "playbooks", "catalog", "tests/images", "imagectl.yaml", "examples"):
        source, target = REPOSITORY / name, root / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            unwanted = shutil.ignore_patterns("public", "__pycache__", "image.lock")
            shutil.copytree(source, target, ignore=unwanted)
        else:
            shutil.copy(source, target)
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def built(root: Path) -> list[dict[str, Any]]:
    imagectl(root, "validate")
    builds: list[dict[str, Any]] = answered(root, "build")["builds"]
    return builds


def test_both_examples_are_built_from_nothing_and_released(
    root: Path, built: list[dict[str, Any]]
) -> None:
    assert [(each["image"], each["outcome"]) for each in built] == [
        ("debian-base", "built"),
        ("debian-ci", "built"),
    ]
    imagectl(root, "promote", "stable", "--reason", "a test")
    for image in ("debian-base", "debian-ci"):
        reference = imagectl(root, "resolve", image).strip()
        assert Path(reference).stat().st_size > 100_000_000
    beta = imagectl(root, "resolve", "--config", "examples/consumer/.imagectl.yaml").strip()
    assert beta == imagectl(root, "resolve", "debian-base:beta").strip()
    again = answered(root, "build")["builds"]
    assert {each["outcome"] for each in again} == {"unchanged"}
    imagectl(root, "catalog", "verify")


def test_an_example_goes_to_a_registry_and_back(
    root: Path, built: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_USER", USER)
    monkeypatch.setenv("REGISTRY_PASSWORD", PASSWORD)
    settings = root / "imagectl.yaml"
    before = settings.read_text()
    with docker_registry() as registry:
        settings.write_text(
            before.replace(
                "locations:\n",
                f"""locations:
  registry: {{type: oci, url: '127.0.0.1:{registry.address[1]}/images', insecure: true,
    username: {{env: REGISTRY_USER}}, password: {{env: REGISTRY_PASSWORD}}}}
""",
            )
        )
        text = f"debian-ci@{built[1]['version']}"
        imagectl(root, "publish", text, "--to", "registry")
        project = open_project(root)
        try:
            placed = project.catalog.snapshot().placed(ref(text))
            (there,) = [each for each in placed if each.location == "registry"]
            project.locations[there.location].fetch(there, root / "pulled", lambda _: None)
        finally:
            project.close()
        with (root / "pulled").open("rb") as pulled:
            assert hashlib.file_digest(pulled, "sha256").hexdigest() == there.sha256
        (root / "pulled").unlink()
        imagectl(root, "verify")
    settings.write_text(before)


@pytest.fixture(scope="module")
def elsewhere(root: Path, built: list[dict[str, Any]]) -> Iterator[Path]:
    """The whole project in another folder."""
    folder = Path(tempfile.mkdtemp(prefix="moved to-", dir="/var/tmp"))
    project = folder / "another fleet"
    shutil.copytree(root, project, symlinks=True)
    yield project
    shutil.rmtree(folder)


def as_somebody_else(project: Path) -> tuple[str, ...]:
    """The words before a command that then runs a year later, in another time zone, without any
    network; and, where this is root's own test, as a user whose files *project* becomes."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    home = project.parent
    changed = [
        *("env", "FAKETIME=+370d", f"LD_PRELOAD={library}", "TZ=Asia/Kathmandu"),
        *("USER=stranger", "LOGNAME=stranger", f"HOME={home}"),
    ]
    if os.geteuid() != 0:
        return ("unshare", "--user", "--keep-caps", "--map-current-user", "--net", *changed)
    tables = home / "etc"
    tables.mkdir()
    user = f"stranger:x:{STRANGER}:{STRANGER}::{home}:/bin/sh\n"
    (tables / "passwd").write_text(Path("/etc/passwd").read_text() + user)
    for name in ("subuid", "subgid"):
        (tables / name).write_text(f"stranger:{1 << 20}:65536\n")
    for path in (home, *home.rglob("*")):
        os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
    script = "ip link set lo up"
    for name in ("passwd", "subuid", "subgid"):
        script += f' && touch /etc/{name} && mount --bind "$1/{name}" /etc/{name}'
    # Reading is allowed, since imagectl itself may be in a folder of root's.
    script += f" && shift && exec setpriv --reuid {STRANGER} --regid {STRANGER} --clear-groups"
    script += ' --inh-caps=+dac_read_search --ambient-caps=+dac_read_search "$@"'
    return ("unshare", "--net", "--mount", "sh", "-ec", script, "sh", str(tables), *changed)


def test_both_examples_are_the_same_bytes_a_year_later_elsewhere(
    built: list[dict[str, Any]], elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = as_somebody_else(elsewhere)
    for each in built:
        ref = f"{each['image']}@{each['version']}"
        said = imagectl(elsewhere, "rebuild", ref, "--verify", "--offline", before=before)
        assert "the same bytes again" in said
        with capsys.disabled():
            sys.stdout.write(f"\n{said}")
