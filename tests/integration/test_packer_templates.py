"""Users' own Packer templates, run by Packer itself: JSON and HCL2, and what goes wrong in them."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from support.supplies import session
from support.toolchains import shared_toolchain

from imagectl.adapters.base_cache import BaseCache
from imagectl.adapters.bases import LocalBases
from imagectl.adapters.disks import LocalDisks
from imagectl.adapters.packer_template import PackerTemplates
from imagectl.adapters.store import FileStore
from imagectl.errors import BadInput, BuildFailed, NotFound
from imagectl.model.image import Image, JsonValue, PackerTemplate, Provision, SecretKind, SecretRef
from imagectl.model.names import Architecture, Format, ImageName, LocationName
from imagectl.services.ports.building import OpaqueDisk
from imagectl.services.ports.workspaces import Workspace
from imagectl.testing.build import RecordingProgress

pytestmark = pytest.mark.integration

SECRET = "correct horse, battery\nstaple"

JSON = """\
{"variables": {"word": "", "password": "", "out": "{{env `IMAGECTL_OUTPUT`}}"},
 "builders": [{"type": "file", "name": "one", "target": "{{user `out`}}/made.raw",
               "content": "{{user `word`}} {{user `password`}}"}],
 "provisioners": [],
 "post-processors": [[{"type": "shell-local", "inline": ["echo \\"$SAID\\""],
                       "environment_vars": ["SAID=the word is {{user `password`}}"]}]]}
"""
HCL = """\
variable "word" {
  type = number
}
variable "password" {}
variable "imagectl_output" {}
source "file" "one" {
  content = "${var.word} ${var.password}"
  target  = "${var.imagectl_output}/made.raw"
}
build {
  sources = ["source.file.one"]
}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short path, as a build's: Packer's plug-ins put sockets there."""
    path = Path(tempfile.mkdtemp(prefix="packer-"))
    yield path
    shutil.rmtree(path)


class Project:
    """One with a template."""

    def __init__(self, root: Path, text: str, name: str = "t.json") -> None:
        self.root = root / "project"
        self.template = PurePosixPath("images/ci", name)
        (self.root / "images/ci").mkdir(parents=True)
        (self.root / self.template).write_text(text)
        (self.root / "word").write_text(SECRET)
        for name in ("work", "sockets"):
            (root / name).mkdir()
        self.work = Workspace("1", root / "work", root / "sockets", root / "log", 1_795_000_000)
        self.templates = PackerTemplates(self.root, root / "cache")
        self.progress = RecordingProgress()

    def image(
        self,
        variables: dict[str, JsonValue] | None = None,
        only: str | None = None,
        secret: str = "word",
    ) -> Image:
        secrets = {"password": SecretRef(SecretKind.FILE, secret)}
        return Image(
            name=ImageName("ci"),
            summary="x",
            base=PackerTemplate(self.template, variables or {"word": 3}, secrets, only),
            architecture=Architecture.AMD64,
            disk_size=1 << 30,
            provision=Provision(),
            suites=(PurePosixPath("tests/images/test_ci.py"),),
            formats=(Format.RAW, Format.QCOW2),
            required_locations=(LocationName("local"),),
        )

    def make_disk(self, **changes: object) -> Path:
        image = self.image(**changes)  # type: ignore[arg-type]  # the tests' own words
        return self.templates.make_disk(image, self.root, self.work, self.progress)

    def check(self, **changes: object) -> None:
        image = self.image(**changes)  # type: ignore[arg-type]  # the tests' own words
        self.templates.check(image, self.root, self.work.folder, self.progress)

    def told(self) -> str:
        """All that anybody is told."""
        return "\n".join([self.work.log.read_text(), *self.progress.steps, *self.progress.notes])


@pytest.mark.parametrize(("text", "name"), [(JSON, "t.json"), (HCL, "t.pkr.hcl")])
def test_a_template_makes_a_disk_from_its_variables(folder: Path, text: str, name: str) -> None:
    project = Project(folder, text, name)
    project.check()
    disk = project.make_disk()
    assert disk.read_text() == f"3 {SECRET}"
    assert disk.is_relative_to(project.work.folder)


def test_secrets_are_in_no_log_and_in_no_file_that_stays(folder: Path) -> None:
    project = Project(folder, JSON)
    disk = project.make_disk()
    told = project.told()
    assert "the word is <secret password>" in told
    for part in SECRET.splitlines():
        assert part not in told
    left = [path for path in project.work.folder.rglob("*") if path.is_file()]
    assert [path for path in left if b"horse" in path.read_bytes()] == [disk]


FAILING = JSON.replace('"echo', '"echo no such flavour: $SAID >&2; exit 3 #')


def test_what_fails_in_it_is_said_in_its_words_but_for_secrets(folder: Path) -> None:
    project = Project(folder, FAILING)
    with pytest.raises(BuildFailed, match="the Packer template failed") as caught:
        project.make_disk()
    assert caught.value.where == "images/ci/t.json"
    assert "no such flavour" in caught.value.tail
    assert "exit status 3" in caught.value.why or "exit status: 3" in caught.value.why
    assert "horse" not in f"{caught.value.tail}{caught.value.why}{project.told()}"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (JSON.replace("content", "conten"), "t.json"),
        (JSON.replace("}", "", 1), "t.json"),
        (HCL.replace("content ", "conten "), "t.pkr.hcl"),
        (HCL.replace("sources", "source"), "t.pkr.hcl"),
    ],
)
def test_a_wrong_template_is_found_by_checking_and_makes_nothing(
    folder: Path, text: str, name: str
) -> None:
    """Packer 1.6.6 ends with status 0 where it cannot build an HCL2 template."""
    project = Project(folder, text, name)
    with pytest.raises(BadInput) as caught:
        project.check()
    (problem,) = caught.value.problems
    assert problem.file == f"images/ci/{name}"
    with pytest.raises(BuildFailed):
        project.make_disk()


def test_a_choice_of_no_build_makes_nothing(folder: Path) -> None:
    project = Project(folder, JSON)
    with pytest.raises(BuildFailed):
        project.make_disk(only="two")


def test_without_a_secret_the_syntax_is_checked_and_nothing_is_built(folder: Path) -> None:
    project = Project(folder, JSON)
    project.check(secret="nowhere")
    assert "only the syntax" in project.progress.notes[0]
    with pytest.raises(NotFound, match="the secret"):
        project.make_disk(secret="nowhere")


def test_what_output_and_manifest_both_name_is_one_disk(folder: Path) -> None:
    manifest = '[{"type": "manifest", "output": "{{user `out`}}/packer-manifest.json"}'
    project = Project(
        folder, JSON.replace('[{"type": "shell-local"', manifest + ', {"type": "shell-local"')
    )
    assert project.make_disk().name == "made.raw"


POWER_OFF = bytes.fromhex("ba0406 b80020 ef f4 ebfd")
"""``mov dx, 604h; mov ax, 2000h; out dx, ax``: ACPI's S5, as QEMU's ``pc`` has it."""

QEMU = """\
{"variables": {"out": "{{env `IMAGECTL_OUTPUT`}}", "password": "", "word": ""},
 "builders": [{"type": "qemu", "disk_image": true, "iso_url": "images/ci/tiny.raw",
               "iso_checksum": "none", "format": "qcow2", "output_directory": "{{user `out`}}/qemu",
               "vm_name": "tiny.qcow2", "accelerator": "tcg", "headless": true, "disable_vnc": true,
               "communicator": "none", "boot_wait": "0s", "shutdown_timeout": "60s",
               "disk_size": "8M", "skip_compaction": true}]}
"""


def test_the_disk_of_the_qemu_builder_is_delivered_in_the_formats_of_the_image(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A disk of 8 MiB whose boot sector switches the machine off."""
    project = Project(folder, QEMU)
    tiny = bytearray(8 << 20)
    tiny[: len(POWER_OFF)] = POWER_OFF
    tiny[510:512] = b"\x55\xaa"
    (project.root / "images/ci/tiny.raw").write_bytes(tiny)
    place = Path(tempfile.mkdtemp(prefix="template-", dir="/var/tmp"))
    try:
        toolchain = shared_toolchain(tmp_path_factory)
        with session(project.root, place, toolchain) as ours:
            bases = LocalBases(
                ours, FileStore(place / "store"), BaseCache(place / "b"), project.templates
            )
            made = bases.make(project.image(), None, project.work, project.progress)
        assert isinstance(made, OpaqueDisk)
        assert "images/ci/t.json" in made.cause
        assert made.path.read_bytes() == tiny
        written = LocalDisks(lambda _: toolchain).write(
            project.image(), made, project.work, project.progress
        )
        assert written.files[Format.RAW].read_bytes() == tiny
        assert written.bootable[1] is Format.QCOW2
    finally:
        shutil.rmtree(place)


DOCKER = """\
#!/bin/sh
case "$1" in
-v) echo "Docker version 20.10.5, build 55c4c88" ;;
run) echo 0123456789abcdef ;;
kill) sleep 7; touch {folder}/killed ;;
esac
"""
HANGING = """\
{"builders": [{"type": "docker", "image": "x", "pull": false, "discard": true}],
 "provisioners": [{"type": "shell-local", "inline": ["echo it has begun; sleep 300"]}]}
"""


class Impatient(RecordingProgress):
    """A user who stops the build as soon as something is said."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self._word = word

    def step(self, text: str) -> None:
        super().step(text)
        if self._word in text:
            os.kill(os.getpid(), signal.SIGINT)


def test_packer_removes_what_it_has_made_when_the_build_is_stopped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloud takes longer than our own VMs. Packer's own builder is told to end, by the real one;
    its docker is a program that takes seven seconds to end a container."""
    program = folder / "bin/docker"
    program.parent.mkdir()
    program.write_text(DOCKER.format(folder=folder))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(folder))
    project = Project(folder, HANGING)
    project.progress = Impatient("it has begun")
    image = replace(project.image(), base=PackerTemplate(project.template))
    with pytest.raises(KeyboardInterrupt):
        project.templates.make_image(image, project.root, project.work, project.progress)
    assert (folder / "killed").exists()
    assert "waiting for packer to clean up, at most 10 min" in project.progress.notes[-1]
