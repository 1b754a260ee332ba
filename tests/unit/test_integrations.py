"""The examples of docs/how-to/integrations.md, taken from the page, run as far as can be here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.actions import Job, variables
from support.cli import Run
from support.projects import new_project, release

REPOSITORY = Path(__file__).parents[2]
INTEGRATIONS = REPOSITORY / "integrations"
PAGE = (REPOSITORY / "docs/how-to/integrations.md").read_text()
STABLE, BETA = "debian-ci@20261118.1", "debian-ci@20261120.1"
VERSIONS = {"stable": "20261118.1", "beta": "20261120.1"}
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(chapter: str, language: str) -> list[str]:
    """The examples in a language below a heading of the page."""
    text = PAGE.partition(f"## {chapter}\n")[2].partition("\n## ")[0]
    assert text, f"no chapter {chapter}"
    return [block for known, block in _FENCE.findall(text) if known == language]


@dataclass(frozen=True, slots=True)
class Checkout:
    """A consumer's repository with the page's build config, and a machine with imagectl on it."""

    folder: Path
    environment: dict[str, str]

    def shell(self, script: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return self.run(["bash", "-eo", "pipefail", "-c", script], stdin)

    def run(self, command: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def config(self, old: str, new: str) -> None:
        path = self.folder / ".imagectl.yaml"
        path.write_text(path.read_text().replace(old, new))


@pytest.fixture
def checkout(tmp_path: Path, imagectl: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Checkout]:
    made = new_project(tmp_path / "images")
    monkeypatch.chdir(made.root)
    release(made, STABLE)
    assert imagectl("promote", "stable", STABLE).exit_code == 0
    release(made, BETA)
    folder = tmp_path / "app"
    folder.mkdir()
    (config,) = re.findall(r"^# \.imagectl\.yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    public = str(made.root / "catalog" / "public")
    (folder / ".imagectl.yaml").write_text(config.replace("https://images.example/catalog", public))
    shutil.copy(made.root / "catalog" / "root.json", folder / "images-root.json")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "imagectl").write_text(f'#!/bin/sh\nexec {sys.executable} -m imagectl "$@"\n')
    (programs / "imagectl").chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "NO_COLOR": "1",
        "PYTHONPATH": str(REPOSITORY),
    }
    yield Checkout(folder, environment)
    made.close()


def workflow(checkout: Checkout, text: str, job: str, **context: Any) -> Job:
    """Run a job of a workflow on a runner."""
    scratch = checkout.folder.parent / "runner"
    scratch.mkdir(exist_ok=True)
    running = Job(REPOSITORY, checkout.folder, scratch, dict(checkout.environment))
    running.run(yaml.safe_load(text)["jobs"][job]["steps"], context)
    return running


def test_github_gives_a_version_to_later_steps_and_jobs(checkout: Checkout) -> None:
    one, _ = blocks("GitHub Actions", "yaml")
    job = workflow(checkout, one, "test")
    assert job.status == 0, job.said
    reference = job.environment["IMAGE_REFERENCE"]
    assert f"testing {reference}\n" in job.said
    assert f"its version is {VERSIONS['beta']}\n" in job.said
    assert Path(reference).read_text() == f"qcow2 disk of {BETA}"
    checkout.config("channel: beta ", "channel: stable ")
    later = workflow(checkout, one.replace("lock: locked", "locked: locked"), "test")
    assert later.status == 3, "another channel than was locked"
    assert "IMAGE_REFERENCE" not in later.environment


def test_github_runs_each_channel_and_lets_beta_fail(checkout: Checkout) -> None:
    _, several = blocks("GitHub Actions", "yaml")
    job = workflow(checkout, several, "images")
    assert job.status == 0, job.said
    rows = json.loads(job.outputs["images"]["matrix"])["include"]
    assert {row["channel"]: row["allowed_to_fail"] for row in rows} == {
        "beta": True,
        "stable": False,
    }
    test = yaml.safe_load(several)["jobs"]["test"]
    assert "fromJSON(needs.images.outputs.matrix)" in test["strategy"]["matrix"]
    assert "matrix.allowed_to_fail" in test["continue-on-error"]
    for row in rows:
        assert VERSIONS[row["channel"]] == row["version"]
        assert row["reference"] in workflow(checkout, several, "test", matrix=row).said


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"images": "debian-ci:nightly"}, 6),
        ({"images": "debian-ci@20260101.1"}, 6),
        ({"images": "--help"}, 2),
        ({"images": "debian-ci; touch hacked"}, 2),
        ({"images": "$(touch hacked)"}, 2),
        ({"locked": "nowhere.json"}, 6),
        ({"matrix": "yes"}, 2),
        ({"config": "a b.yaml"}, 6),
        ({"catalog": "nowhere"}, 6),
    ],
)
def test_githubs_step_fails_where_it_cannot_be_had(
    checkout: Checkout, given: dict[str, str], status: int
) -> None:
    step = {"uses": "acme/imagectl/integrations/github@v1", "id": "image", "with": given}
    job = workflow(checkout, yaml.dump({"jobs": {"a": {"steps": [step]}}}), "a")
    assert job.status == status, job.said
    assert not any(job.outputs["image"].values())
    assert not any(name.startswith("IMAGE_") for name in job.environment)
    assert not (checkout.folder / "hacked").exists()


def test_github_takes_several_images_and_flags(checkout: Checkout) -> None:
    step = {
        "uses": "acme/imagectl/integrations/github@v1",
        "with": {"images": "debian-ci:stable", "format": "qcow2", "location": "local"},
    }
    job = workflow(checkout, yaml.dump({"jobs": {"a": {"steps": [step]}}}), "a")
    assert job.environment["IMAGE_VERSION"] == VERSIONS["stable"], job.said


def test_the_gitlab_jobs_hand_on_what_was_resolved(checkout: Checkout) -> None:
    own = yaml.safe_load(blocks("GitLab", "yaml")[1])
    spec, component = yaml.safe_load_all((INTEGRATIONS / "gitlab/imagectl.yml").read_text())
    used = yaml.safe_load(blocks("GitLab", "yaml")[0])["include"][0]
    assert set(used["inputs"]) <= set(spec["spec"]["inputs"])
    inputs = set(re.findall(r"\$\[\[ inputs\.([\w-]+) \]\]", json.dumps(component)))
    assert inputs == set(spec["spec"]["inputs"])
    for job in (own["image"], component["imagectl"]):
        assert checkout.shell("\n".join(job["script"])).returncode == 0
        found = variables((checkout.folder / job["artifacts"]["reports"]["dotenv"]).read_text())
        assert found["IMAGE_VERSION"] == VERSIONS["beta"]
        assert (checkout.folder / job["artifacts"]["paths"][0]).exists()
        checkout.environment.update(found)
        said = checkout.shell("\n".join(own["test"]["script"])).stdout
        assert said == f"testing {found['IMAGE_REFERENCE']}\n"
        for name in found:
            del checkout.environment[name]


def test_the_gitlab_matrix_makes_jobs_of_a_child_pipeline(checkout: Checkout) -> None:
    trigger = yaml.safe_load(blocks("GitLab", "yaml")[2])["matrix"]["trigger"]["include"]
    hidden = yaml.safe_load(blocks("GitLab", "yaml")[3])
    _, component = yaml.safe_load_all((INTEGRATIONS / "gitlab/imagectl.yml").read_text())
    made = component[trigger[0]["job"]]
    assert made["artifacts"]["paths"] == [trigger[0]["artifact"]]
    assert checkout.shell("\n".join(made["script"])).returncode == 0
    jobs = yaml.safe_load((checkout.folder / trigger[0]["artifact"]).read_text())
    assert {name: job["allow_failure"] for name, job in jobs.items()} == {
        "debian-ci:beta": True,
        "debian-ci:stable": False,
    }
    for name, job in jobs.items():
        checkout.environment.update(job["variables"])
        said = checkout.shell("\n".join(hidden[job["extends"]]["script"])).stdout
        assert said == f"testing {job['variables']['IMAGE_REFERENCE']}\n"
        again = checkout.shell("imagectl resolve --as env")
        assert variables(again.stdout)["IMAGE_VERSION"] == VERSIONS[name.partition(":")[2]]


_JENKINS = """
def step = new GroovyShell().parse(new File(args[0]))
def put = [:]
step.metaClass.withEnv = { List all, Closure body ->
    all.each { def (name, value) = it.split('=', 2); put[name] = value }
    body()
}
step.metaClass.sh = { Map options ->
    def build = new ProcessBuilder('sh', '-c', options.script).directory(new File(args[1]))
    build.environment().putAll(put)
    def process = build.redirectError(ProcessBuilder.Redirect.INHERIT).start()
    def said = process.inputStream.text
    if (process.waitFor() != 0) throw new Exception("exit code ${process.exitValue()}")
    said
}
step.metaClass.error = { String why -> throw new Exception(why) }
def options = [:]
args.drop(2).each { def (name, value) = it.split('=', 2); options[name] = value }
def image = step.call(options)
println(image.reference)
println(image.version)
"""


@pytest.mark.integration
def test_the_jenkins_step_gives_a_map(checkout: Checkout) -> None:
    """The steps of Jenkins that it uses are played by Groovy's own means."""
    script = checkout.folder.parent / "jenkins.groovy"
    script.write_text(_JENKINS)
    step = INTEGRATIONS / "jenkins/vars/imagectlResolve.groovy"
    command = ["groovy", str(script), str(step), str(checkout.folder)]
    java = Path(shutil.which("java") or "/usr/bin/java").resolve()
    checkout.environment["JAVA_HOME"] = str(java.parents[1])
    (used,) = re.findall(
        r"imagectlResolve\(channel: '(\w+)'\)", "".join(blocks("Jenkins", "groovy"))
    )
    done = checkout.run([*command, f"channel={used}"])
    assert done.stdout.splitlines()[1:] == [VERSIONS[used]], done.stdout + done.stderr
    assert checkout.run([*command, "channel=stable"]).stdout.splitlines()[1:] == ["20261118.1"]
    wrong = checkout.run([*command, "chanel=beta"])
    assert "unknown option 'chanel'" in wrong.stderr
    assert wrong.returncode != 0
    hostile = checkout.run([*command, "channel=$(touch hacked)"])
    assert hostile.returncode != 0
    assert not (checkout.folder / "hacked").exists()


def terraform_program() -> list[str]:
    (example,) = blocks("Terraform", "terraform")
    assert example == (INTEGRATIONS / "terraform/main.tf").read_text()
    (listed,) = re.findall(r"program = \[(.*)\]", example)
    (default,) = re.findall(r'default = "(.*)"', example)
    return [default if each == "var.image" else json.loads(each) for each in listed.split(", ")]


def test_terraform_gets_an_object_of_texts(checkout: Checkout) -> None:
    """The protocol of its ``external`` data source: a JSON object of strings on both sides, and
    an error on standard error with an exit code that is not 0."""
    done = checkout.run(terraform_program(), stdin="{}")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert all(isinstance(value, str) for value in said.values())
    outputs = re.findall(r"result\.(\w+)", (INTEGRATIONS / "terraform/main.tf").read_text())
    assert said["version"] == VERSIONS["stable"]
    assert all(said[name] for name in outputs)


@pytest.mark.parametrize("image", ["debian-ci:nightly", "--help", "debian-ci:", ""])
def test_terraform_is_told_what_is_wrong(checkout: Checkout, image: str) -> None:
    done = checkout.run([*terraform_program()[:-1], image], stdin="{}")
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr


@pytest.mark.skipif(shutil.which("terraform") is None, reason="Debian has no terraform")
def test_terraform_reads_the_example() -> None:
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-diff", str(INTEGRATIONS / "terraform")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_packer_takes_the_values(checkout: Checkout) -> None:
    (script,) = blocks("Packer", "sh")
    shutil.copy(INTEGRATIONS / "packer/child.pkr.hcl", checkout.folder)
    checkout.environment["CHECKPOINT_DISABLE"] = "1"
    done = checkout.shell(script)
    assert done.returncode == 0, done.stdout + done.stderr
    values = json.loads((checkout.folder / "parent.auto.pkrvars.json").read_text())
    assert values["version"] == VERSIONS["beta"]
    template = (checkout.folder / "child.pkr.hcl").read_text()
    assert set(re.findall(r'variable "(\w+)"', template)) == set(values)
    del values["sha256"]
    (checkout.folder / "parent.auto.pkrvars.json").write_text(json.dumps(values))
    assert checkout.shell("packer validate .").returncode != 0, "validate sees what is missing"


def unit(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (INTEGRATIONS / "systemd" / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_all_followed_images_are_of_one_user() -> None:
    """They share a cache and a folder, and each instance of a unit has a user of its own."""
    unit_of = unit("imagectl-follow@.service")
    assert unit_of["DynamicUser"] == ["yes"]
    [user] = unit_of["User"]
    assert "%" not in user
    assert unit_of["CacheDirectory"] == unit_of["StateDirectory"] == ["imagectl"]


def test_systemd_takes_the_units(checkout: Checkout, tmp_path: Path) -> None:
    for each in (INTEGRATIONS / "systemd").iterdir():
        instance = each.name.replace("@.", "@debian-ci.")
        (tmp_path / instance).write_text(each.read_text())
    done = checkout.run(
        [
            *("systemd-analyze", "verify", "--man=no", "--recursive-errors=no"),
            *(str(path) for path in sorted(tmp_path.glob("imagectl-follow@*"))),
        ]
    )
    assert (done.returncode, done.stderr) == (0, "")


def follow_script() -> str:
    (start,) = unit("imagectl-follow@.service")["ExecStart"]
    (script,) = re.fullmatch(r"/bin/sh -c '(.*)'", start).groups()  # type: ignore[union-attr]  # it fits
    assert "${" not in script, "systemd would put its own value there"
    return script.replace("%i", "debian-ci")


def test_the_service_keeps_what_it_had_where_resolving_fails(checkout: Checkout) -> None:
    script = follow_script()
    assert checkout.run(["/bin/sh", "-c", script]).returncode == 0
    before = (checkout.folder / "debian-ci.env").read_text()
    assert variables(before)["IMAGE_VERSION"] == VERSIONS["beta"]
    checkout.environment["IMAGECTL_CHANNEL"] = "nightly"
    assert checkout.run(["/bin/sh", "-c", script]).returncode == 6
    assert (checkout.folder / "debian-ci.env").read_text() == before


def test_the_service_downloads_the_disk_before_it_tells_of_it(checkout: Checkout) -> None:
    disk, told = checkout.folder / "ci.qcow2", checkout.folder / "debian-ci.env"
    checkout.environment.update(PULL_TO="ci.qcow2", IMAGECTL_CHANNEL="stable")
    done = checkout.run(["/bin/sh", "-c", follow_script()])
    assert done.returncode == 0, done.stderr
    assert disk.read_text() == f"qcow2 disk of {STABLE}"
    before = told.read_text()
    answer = checkout.run(["imagectl", "resolve", "debian-ci:beta", "--as", "env"])
    newer = Path(variables(answer.stdout)["IMAGE_REFERENCE"])
    whole = newer.read_bytes()
    newer.chmod(0o600)
    newer.write_bytes(whole[:-1] + b"?")
    checkout.environment["IMAGECTL_CHANNEL"] = "beta"
    assert checkout.run(["/bin/sh", "-c", follow_script()]).returncode == 1
    assert told.read_text() == before
    assert disk.read_text() == f"qcow2 disk of {STABLE}"
    newer.write_bytes(whole)
    assert checkout.run(["/bin/sh", "-c", follow_script()]).returncode == 0
    assert disk.read_bytes() == whole
    assert variables(told.read_text())["IMAGE_VERSION"] == VERSIONS["beta"]
    assert json.loads((checkout.folder / "debian-ci.json").read_text())


def test_the_user_data_sets_what_the_service_reads(checkout: Checkout) -> None:
    (example,) = blocks("cloud-init", "yaml")
    assert example == (INTEGRATIONS / "cloud-init/user-data.yaml").read_text()
    assert example.startswith("#cloud-config\n")
    data = yaml.safe_load(example)
    (file,) = data["write_files"]
    assert unit("imagectl-follow@.service")["EnvironmentFile"] == [
        file["path"].replace("debian-ci", "%i")
    ]
    asked = variables(file["content"])
    asked["IMAGECTL_CATALOG"] = str(checkout.folder.parent / "images/catalog/public")
    asked["IMAGECTL_ROOT"] = str(checkout.folder / "images-root.json")
    (checkout.folder / ".imagectl.yaml").unlink()
    checkout.environment.update(asked)
    found = variables(checkout.shell("imagectl resolve --as env").stdout)
    assert found["IMAGE_VERSION"] == VERSIONS["stable"]


@pytest.mark.skipif(
    shutil.which("cloud-init") is None,
    reason="cloud-init, once installed, would set up this machine when it boots",
)
def test_cloud_init_takes_the_user_data() -> None:
    done = subprocess.run(
        ["cloud-init", "schema", "--config-file", str(INTEGRATIONS / "cloud-init/user-data.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_action_says_what_each_input_and_output_is() -> None:
    action = yaml.safe_load((INTEGRATIONS / "github/action.yml").read_text())
    script = (INTEGRATIONS / "github/resolve.sh").read_text()
    assert action["runs"]["using"] == "composite"
    (step,) = action["runs"]["steps"]
    assert {name.removeprefix("INPUT_").lower() for name in step["env"]} == set(action["inputs"])
    for name, each in (action["inputs"] | action["outputs"]).items():
        assert each["description"].endswith((".", '"false".', "fromJSON.")), name
    for name in action["inputs"]:
        assert name in script or name.upper() in script
    assert os.access(INTEGRATIONS / "github/resolve.sh", os.X_OK)
