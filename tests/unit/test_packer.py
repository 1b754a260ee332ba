from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagectl.adapters import packer
from imagectl.errors import BuildFailed, ToolMissing


def vm(**changes: object) -> packer.BuildVm:
    values: dict[str, object] = {
        "disk": Path("/p/base.disk"),
        "output": Path("/p/out"),
        "qemu": "/usr/bin/qemu-system-x86_64",
        "accelerator": "tcg",
        "cpus": 2,
        "memory": 1 << 30,
        "private_key": Path("/p/key"),
        "ssh_seconds": 300,
        "qemu_arguments": [("-netdev", "user,hostfwd=tcp:127.0.0.1:{{ .SSHHostPort }}-:22")],
        "ansible_command": Path("/p/command"),
        "playbook": Path("/p/play.yml"),
        "shutdown": "systemctl poweroff",
    }
    return packer.BuildVm(**{**values, **changes})  # type: ignore[arg-type]


def test_the_template_says_what_it_was_given() -> None:
    template = json.loads(packer.render(vm()))
    builder = template["builders"][0]
    assert builder["memory"] == 1024
    assert builder["ssh_timeout"] == "300s"
    assert builder["accelerator"] == "tcg"
    assert builder["disk_cache"] == "unsafe", "the disk of a build VM is kept by nobody"
    assert builder["qemuargs"][0][1].endswith("{{ .SSHHostPort }}-:22")
    assert template["provisioners"][0]["command"] == "/p/command"


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_no_value_can_leave_its_place(text: str) -> None:
    """Quotes, braces, template marks of Jinja2 and of Packer: all stay inside their value."""
    template = json.loads(packer.render(vm(playbook=Path("/p") / text)))
    expected = packer.escape(str(Path("/p") / text))
    assert template["provisioners"][0]["playbook_file"] == expected
    assert set(template) == {"builders", "provisioners"}


def test_a_value_is_not_evaluated_by_packer() -> None:
    assert packer.escape("a{{env `HOME`}}b") == 'a{{ "{{" }}env `HOME`}}b'


def test_a_machine_readable_line_is_unescaped() -> None:
    line = packer.parse_line("1700000000,build,ui,say,one%!(PACKER_COMMA) two\\nthree")
    assert line == packer.Line("build", "ui", ("say", "one, two\nthree"))


@pytest.mark.parametrize("text", ["", "hello", "not,a,line", "12,x"])
def test_other_output_is_not_taken_for_a_line(text: str) -> None:
    assert packer.parse_line(text) is None


def test_messages_are_for_people() -> None:
    assert packer.messages("17,,ui,say,==> build: Copying hard drive...") == [
        "Copying hard drive..."
    ]
    assert packer.messages("17,,ui,message,    build: ok: [default]") == ["ok: [default]"]
    assert packer.messages("17,build,artifact,0,id,VM") == []


def test_the_installed_packer_takes_the_rendered_template(tmp_path: Path) -> None:
    for name in ("base.disk", "key", "play.yml"):
        (tmp_path / name).write_text("x")
    template = tmp_path / "template.json"
    template.write_text(
        packer.render(
            vm(
                disk=tmp_path / "base.disk",
                output=tmp_path / "out",
                private_key=tmp_path / "key",
                ansible_command=Path("/bin/true"),
                playbook=tmp_path / "play.yml",
            )
        )
    )
    with pytest.raises(BuildFailed, match="Packer refuses") as caught:
        packer.validate(template, tmp_path, tmp_path)
    # The key of this test is no key; Packer says so, and finds nothing else wrong.
    assert "ssh_private_key_file" in caught.value.why
    assert caught.value.why.count("* ") == 1


def fake_packer(folder: Path, version: str) -> str:
    program = folder / "packer"
    program.write_text(f"#!/bin/sh\necho '{version}'\n")
    program.chmod(0o755)
    return str(program)


def test_the_version_is_read(tmp_path: Path) -> None:
    assert packer.version(fake_packer(tmp_path, "Packer v1.11.2")) == (1, 11, 2)


def test_another_program_of_that_name_is_told(tmp_path: Path) -> None:
    """cracklib also has a program named packer."""
    with pytest.raises(ToolMissing, match="is not Packer"):
        packer.version(fake_packer(tmp_path, "0 words"))


def test_a_packer_that_is_too_old_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_packer(tmp_path, "Packer v1.5.4")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(ToolMissing, match=r"Packer 1\.5\.4 is too old") as caught:
        packer.find()
    assert caught.value.hint


def test_a_missing_packer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="packer is not installed") as caught:
        packer.find()
    assert "apt-get install packer" in caught.value.hint
