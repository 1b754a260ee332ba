"""What is shipped to run imagectl as a service: systemd takes it, imagectl takes its commands."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import click
import pytest

from imagectl.cli.main import root
from imagectl.cli.verb import Verb

REPOSITORY = Path(__file__).parents[2]
UNITS = sorted((REPOSITORY / "packaging/systemd").iterdir())
SERVICES = [each for each in UNITS if each.suffix == ".service"]
SERVE = REPOSITORY / "packaging/systemd/imagectl-serve.service"
IN_THE_PROJECT = [each for each in SERVICES if each != SERVE]
"""Those that run where builds do, as the user who builds."""
CONTAINERFILE = REPOSITORY / "packaging/container/Containerfile"


def read(unit: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]  # keys are of mixed case
    parser.read(unit)
    return parser


def parsed(arguments: Sequence[str]) -> tuple[Verb, dict[str, object]]:
    """The verb and its options, as the real command line reads them."""
    words = list(arguments)
    command: click.Command = root
    context = click.Context(root, info_name="imagectl")
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command = found
    assert isinstance(command, Verb)
    return command, command.make_context(command.name, words, parent=context).params


@pytest.mark.parametrize("unit", SERVICES, ids=lambda each: each.name)
def test_a_service_runs_a_command_that_there_is(unit: Path) -> None:
    service = read(unit)["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    assert Path(program).name == "imagectl"
    verb, options = parsed(arguments)
    goes_on = options.get("watch", False) or options.get("listen") is not None
    assert goes_on is (service["Type"] != "oneshot")
    assert 130 in verb.exits, "being stopped is no failure"
    assert service["SuccessExitStatus"] == "130"


@pytest.mark.parametrize("unit", IN_THE_PROJECT, ids=lambda each: each.name)
def test_a_service_sees_what_it_has_to_collect(unit: Path) -> None:
    """Builds have their sockets in /tmp, and are known by their processes' environment."""
    assert not {"PrivateTmp", "ProtectProc", "PrivateUsers", "ProtectHome"} & {
        *read(unit)["Service"]
    }


NO_NEW_PRIVILEGES = {
    *("DynamicUser", "LockPersonality", "MemoryDenyWriteExecute", "NoNewPrivileges"),
    *("PrivateDevices", "ProtectClock", "ProtectHostname", "ProtectKernelLogs"),
    *("ProtectKernelModules", "ProtectKernelTunables", "RestrictAddressFamilies"),
    *("RestrictFileSystems", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID"),
    *("SystemCallArchitectures", "SystemCallFilter", "SystemCallLog"),
}
"""What keeps a service with ``User=`` from running set-uid programs: systemd.exec(5)."""


@pytest.mark.parametrize("unit", IN_THE_PROJECT, ids=lambda each: each.name)
def test_a_service_may_run_newuidmap(unit: Path) -> None:
    """Without that, what a killed build of a base left, with other owners, stays for ever."""
    service = read(unit)["Service"]
    assert service["User"] != "root"
    assert not NO_NEW_PRIVILEGES & {*service}
    assert "CapabilityBoundingSet" not in service


def test_what_faces_the_network_has_no_key_and_writes_nowhere() -> None:
    service = read(SERVE)["Service"]
    _, *arguments = shlex.split(service["ExecStart"])
    _, options = parsed(arguments)
    assert options["catalog"] is not None, "it is not in a project"
    assert options["root"] is not None
    assert service["DynamicUser"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert not {"User", "WorkingDirectory", "ReadWritePaths", "StateDirectory"} & {*service}
    page = (REPOSITORY / "docs/how-to/serve.md").read_text()
    assert f"cp packaging/systemd/{SERVE.name} /etc/systemd/system/" in page


@pytest.mark.parametrize("name", ["janitor", "janitor-round", "refresh", "serve", "metrics"])
def test_a_page_tells_how_to_install_it(name: str) -> None:
    pages = "".join(each.read_text() for each in (REPOSITORY / "docs/how-to").glob("*.md"))
    copied = re.findall(r"^cp packaging/systemd/(\S+) /etc/systemd/system/$", pages, re.MULTILINE)
    assert any(fnmatch(f"imagectl-{name}.service", each) for each in copied)


def test_systemd_understands_every_unit(tmp_path: Path) -> None:
    for unit in UNITS:
        program = "/opt/imagectl/bin/imagectl"
        (tmp_path / unit.name).write_text(unit.read_text().replace(program, sys.executable))
    units = [str(tmp_path / each.name) for each in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units],
        check=False,
        capture_output=True,
        text=True,
    )
    ours = [line for line in done.stderr.splitlines() if "imagectl" in line]
    assert ours == []
    assert done.returncode == 0, done.stderr


def test_the_container_has_all_that_it_copies_and_runs_a_command_that_there_is() -> None:
    lines = CONTAINERFILE.read_text().splitlines()
    steps = [(line.split(" ", 1)) for line in lines if line and line[0] not in "# "]
    copies = [rest.split() for step, rest in steps if step == "COPY"]
    copied = [path for each in copies if "--from=build" not in each for path in each[:-1]]
    assert copied
    assert [path for path in copied if not (REPOSITORY / path).exists()] == []
    only = dict(steps)
    program = json.loads(only["ENTRYPOINT"])
    assert program == ["/opt/imagectl/bin/imagectl"]
    _, options = parsed(json.loads(only["CMD"]))
    assert options["watch"] is True
    assert options["here"] is False, "it cannot see the host's processes"
    assert only["USER"] != "root"


def pins(file: str) -> set[str]:
    """``name==version``, of each package in that file."""
    text = (REPOSITORY / "requirements" / file).read_text()
    found = re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==(\S+)", text, re.MULTILINE)
    return {f"{name.lower()}=={version}" for name, version in found}


def test_the_container_has_the_tested_versions_and_nothing_for_tests_alone() -> None:
    last = CONTAINERFILE.read_text().rsplit("\nFROM ", 1)[1]
    assert "--require-hashes -r requirements/run.txt" in last
    assert "dev.txt" not in last
    run, dev = pins("run.txt"), pins("dev.txt")
    assert run < dev, "`make requirements`"
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    named = {
        re.split(r"[\[=<>]", each)[0].lower().replace(".", "-") for each in project["dependencies"]
    }
    assert named <= {each.split("==")[0] for each in run}, "`make requirements`"
    assert not {"ruff", "mypy", "selenium"} & {each.split("==")[0] for each in run}


def test_imagectl_is_built_and_installed_by_others_on_pinned_packages_alone() -> None:
    """What verifies images is not to be what an index has that day."""
    assert "hatchling" in {each.split("==")[0] for each in pins("build.txt")}
    assert pins("build.txt") < pins("dev.txt"), "`make requirements`"
    for file in (CONTAINERFILE, REPOSITORY / "integrations/github/resolve.sh"):
        text = file.read_text().replace("\\\n", " ")
        installs = re.findall(r"pip (?:install|wheel)\b.*", text)
        assert installs
        for each in installs:
            assert "--require-hashes" in each or "--no-deps" in each, each
            assert "--no-deps" not in each or "--no-build-isolation" in each or ".whl" in each, each
