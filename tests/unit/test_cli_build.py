"""``build``, ``test`` and ``validate`` on a real project; the slow tools are the in-memory ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import Result
from support.cli import answer
from support.projects import record_version
from support.workbenches import Tools, child_of

from imagectl.bootstrap.project import Project
from imagectl.cli.build import Built
from imagectl.cli.output import Failure
from imagectl.cli.test import ProvedDocument
from imagectl.errors import BuildFailed
from imagectl.model.names import Format

Run = Callable[..., Result]


def test_build_ends_in_the_entry_channel(project: Project, tools: Tools, imagectl: Run) -> None:
    result = imagectl("build")
    assert result.exit_code == 0
    (version,) = project.catalog.snapshot().versions
    first, second = result.stdout.splitlines()[:2]
    assert first.startswith(f"{version}  built in 0:0")
    assert first.endswith(", 2 tests passed")
    assert second == f"debian-base:beta  nothing -> {version.version}"
    assert "== debian-base: provision" in result.stderr
    *_, following, keys = result.stderr.splitlines()
    assert following == "next: imagectl promote stable"
    assert keys.startswith("warning: the keys that sign what consumers read were made in ")
    assert imagectl("resolve", "debian-base:beta").exit_code == 0


def test_build_again_builds_nothing_and_says_so(
    project: Project, tools: Tools, imagectl: Run
) -> None:
    imagectl("build")
    result = imagectl("build", "debian-base", "--json")
    (build,) = answer(result, Built)["builds"]
    assert build["outcome"] == "unchanged"
    assert tools.equipper.runs == 1
    assert "unchanged: it was made from the same" in imagectl("build").stdout
    assert answer(imagectl("build", "--force", "--json"), Built)["builds"][0]["outcome"] == "built"


def test_a_failing_test_shows_the_assertion_and_the_way_in(
    project: Project, tools: Tools, imagectl: Run
) -> None:
    tools.prover.failing = {"test_clean"}
    result = imagectl("build", "--json")
    assert result.exit_code == 1
    error = answer(result, Failure)["error"]
    assert error["kind"] == "tests-failed"
    assert error["failures"] == [{"test": "suite::test_clean", "assertion": "assert 1 == 2"}]
    for part in ("suite::test_clean", "| assert 1 == 2", "| login of", "--failed --keep"):
        assert part in result.stderr
    assert project.catalog.snapshot().versions == {}
    tools.prover.failing = set()
    kept = imagectl("test", "debian-base", "--failed")
    assert kept.exit_code == 0
    assert "none failed" in kept.stdout


def test_one_image_that_fails_does_not_keep_the_others_from_being_built(
    project: Project, tools: Tools, imagectl: Run
) -> None:
    """The child cannot be built: its parent has nothing in stable yet."""
    (project.root / "images" / "child").mkdir()
    (project.root / "images" / "child" / "image.yaml").write_text(child_of("debian-base:stable"))
    result = imagectl("build", "--json")
    assert result.exit_code == 6
    builds = answer(result, Built)["builds"]
    assert [(each["image"], each["outcome"]) for each in builds] == [
        ("debian-base", "built"),
        ("child", "failed"),
    ]
    assert builds[1]["error"]["kind"] == "not-found"
    assert "imagectl promote stable debian-base" in result.stderr
    assert "1 image of 2 failed" in result.stderr
    imagectl("promote", "stable")
    assert imagectl("build").exit_code == 0


def test_a_failed_build_shows_the_end_of_its_log(
    project: Project, tools: Tools, imagectl: Run
) -> None:
    tools.equipper.failure = BuildFailed(
        "task 7 failed: Install docker",
        stage="provision",
        log="/p/.imagectl/logs/x.log",
        tail="fatal: [default]: FAILED!",
        where="playbooks/docker.yml:12",
    )
    result = imagectl("build")
    assert result.exit_code == 1
    for part in ("task 7 failed", "playbooks/docker.yml:12", "| fatal:", "/p/.imagectl/logs/x.log"):
        assert part in result.stderr


def test_build_of_an_unknown_image(project: Project, tools: Tools, imagectl: Run) -> None:
    result = imagectl("build", "debian-bse")
    assert result.exit_code == 6
    assert "debian-base" in result.stderr


def test_test_runs_the_suites_again(project: Project, tools: Tools, imagectl: Run) -> None:
    imagectl("build")
    (version,) = project.catalog.snapshot().versions
    said = answer(imagectl("test", "debian-base:beta", "--json"), ProvedDocument)
    assert (said["what"], said["passed"]) == (str(version), 2)
    assert imagectl("test", str(version)).stdout.splitlines()[0] == "passed   suite::test_up"
    tools.prover.failing = {"test_up"}
    result = imagectl("test", str(version))
    assert result.exit_code == 1
    assert "--keep" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("debian-base",), 2),
        (("debian-base:beta", "--failed"), 2),
        (("debian-base", "--failed"), 6),
        (("debian-base:beta",), 6),
        (("debian-base@20261120.1",), 6),
    ],
)
def test_test_of_what_is_not_there(
    project: Project, tools: Tools, imagectl: Run, arguments: tuple[str, ...], code: int
) -> None:
    result = imagectl("test", *arguments)
    assert result.exit_code == code
    assert "hint:" in result.stderr


def test_test_boots_what_qemu_can_boot(project: Project, tools: Tools, imagectl: Run) -> None:
    both = record_version(
        project, "debian-base@20261120.1", formats=(Format.GCE, Format.VMDK, Format.QCOW2)
    )
    assert imagectl("test", str(both)).exit_code == 0
    assert tools.prover.booted[-1] is Format.QCOW2
    neither = record_version(project, "debian-base@20261120.2", formats=(Format.GCE, Format.OVA))
    result = imagectl("test", str(neither))
    assert result.exit_code == 6
    assert "has no disk that can be booted here" in result.stderr
    assert "it was delivered as gce and ova" in result.stderr


def test_test_boots_the_kept_disk_in_the_format_that_it_has(
    project: Project, tools: Tools, imagectl: Run
) -> None:
    definition = project.root / "images" / "debian-base" / "image.yaml"
    definition.write_text(definition.read_text().replace("[qcow2]", "[gce, raw]"))
    tools.prover.failing = {"test_clean"}
    imagectl("build")
    definition.write_text(definition.read_text().replace("[gce, raw]", "[qcow2]"))
    tools.prover.failing = set()
    assert imagectl("test", "debian-base", "--failed").exit_code == 0
    tools.prover.failing = {"test_clean"}
    imagectl("build")
    tools.prover.failing = set()
    assert imagectl("test", "debian-base", "--failed").exit_code == 0
    assert tools.prover.booted == [Format.RAW, Format.RAW, Format.QCOW2, Format.QCOW2]


def test_validate_reports_every_problem_of_every_file(project: Project, imagectl: Run) -> None:
    (project.root / "imagectl.yaml").write_text("stor: x\n")
    definition = project.root / "images" / "debian-base" / "image.yaml"
    definition.write_text(definition.read_text().replace("roles: [baseline]", "roles: [basline]"))
    result = imagectl("validate", "--json")
    assert result.exit_code == 2
    problems = answer(result, Failure)["error"]["problems"]
    assert {each["file"] for each in problems} == {
        "imagectl.yaml",
        "images/debian-base/image.yaml",
    }
    assert "imagectl.yaml:1:1: " in result.stderr
    assert "did you mean" in result.stderr
