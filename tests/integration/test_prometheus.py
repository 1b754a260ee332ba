"""What is exported, and the alerts that are shipped, in the words of Prometheus's own tools."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from support.cli import command_line
from support.programs import running
from support.projects import new_project, release

PACKAGING = Path(__file__).parents[2] / "packaging/prometheus"
RULES = PACKAGING / "imagectl.rules.yml"
RULES_TESTS = ("imagectl.rules.test.yml", "imagectl.rules.days.test.yml")
GUIDES = PACKAGING.parent.parent / "docs" / "how-to"
DASHBOARD = PACKAGING / "imagectl.dashboard.json"

pytestmark = pytest.mark.integration


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two versions in stable."""
    opened = new_project(tmp_path / "project")
    for serial in (1, 2):
        release(opened, f"debian-base@20261120.{serial}")
    opened.close()
    return opened.root


def exported(project: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    result = command_line(monkeypatch)("-C", str(project), "metrics")
    assert result.exit_code == 0, result.stderr
    return result.stdout


def all_families(project: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What ``metrics`` and ``verify --metrics`` export."""
    file = project / "verify.prom"
    result = command_line(monkeypatch)("-C", str(project), "verify", "--metrics", str(file))
    assert result.exit_code == 0, result.stderr
    text = exported(project, monkeypatch) + file.read_text()
    return set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))


def promtool(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *arguments], input=text, capture_output=True, text=True, cwd=PACKAGING
    )


def test_the_alerts_are_sound_and_fire_when_they_should() -> None:
    checked = promtool("check", "rules", RULES.name)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = promtool("test", "rules", *RULES_TESTS)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def rule(alert: str) -> str:
    """The text of one alert."""
    text = re.search(
        rf"      - alert: {alert}\n.*?(?=\n      - alert: |\Z)", RULES.read_text(), re.S
    )
    assert text is not None
    return text[0]


ALERTS = re.findall(r"- alert: (\w+)", RULES.read_text())
NEVER = "vector(0) > 1"
TOLD_APART = [
    (alert, each, each.replace("instance, job, ", ""))
    for alert in ALERTS
    for each in re.findall(r"\bon \(instance, job, [\w, ]+\)", rule(alert))
]
"""Where what one project has would hide what another lacks."""


@pytest.mark.parametrize(
    ("alert", "guard", "broken"),
    [
        ("ImagectlVmsUnknown", "absent(imagectl_vms_total)", NEVER),
        ("ImagectlCredentialRefused", "imagectl_credential_ok == 0", NEVER),
        ("ImagectlJanitorIdle", 'imagectl_janitor_runs{outcome="ok"} == 0', NEVER),
        ("ImagectlJanitorIdle", 'imagectl_source_ok{source="machines",place!~"host/.+"}', NEVER),
        ("ImagectlJanitorIdle", ',place!~"host/.+"', ""),
        ("ImagectlJanitorIdle", "[1d]) > 0", "[1d]) < 0"),
        ("ImagectlJanitorIdle", "[1d]) > 0", "[1d]) >= 0"),
        *TOLD_APART,
    ],
)
def test_the_alerts_tests_see_an_alert_that_is_broken(
    tmp_path: Path, alert: str, guard: str, broken: str
) -> None:
    before = rule(alert)
    assert before.count(guard) == 1
    after = before.replace(guard, broken)
    (tmp_path / RULES.name).write_text(RULES.read_text().replace(before, after))
    tests = []
    for name in RULES_TESTS:
        document = yaml.safe_load((PACKAGING / name).read_text())
        about = [each for each in document["tests"] if alert in json.dumps(each)]
        if about:
            tests.append(tmp_path / name)
            tests[-1].write_text(json.dumps({**document, "tests": about}))
    assert promtool("test", "rules", *map(str, tests)).returncode == 1


def test_every_alert_is_tested() -> None:
    assert len(ALERTS) > 15
    tests = "".join((PACKAGING / name).read_text() for name in RULES_TESTS)
    assert [each for each in ALERTS if not re.search(rf"\b{each}\b", tests)] == []


def test_prometheus_reads_what_is_exported(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = promtool("check", "metrics", text=exported(project, monkeypatch))
    complaints = [line for line in checked.stderr.splitlines() if "imagectl_vms_total" not in line]
    assert complaints == []


def test_the_guides_tell_of_every_number(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guides = [
        (GUIDES / name).read_text()
        for name in ("watch-with-prometheus.md", "be-able-to-roll-back.md")
    ]
    told = set(re.findall(r"`(imagectl_[a-z_]+)(?:\{[a-z,]+\})?`", "".join(guides)))
    families = all_families(project, monkeypatch)
    assert families - told == set()
    in_the_table = set(re.findall(r"`(imagectl_[a-z_]+)", guides[0]))
    assert in_the_table - families == set()
    # Those of `metrics` are all in its own table.
    measured = re.findall(r"^# TYPE (\S+)", exported(project, monkeypatch), re.MULTILINE)
    assert set(measured) - in_the_table == set()


@pytest.mark.parametrize("file", [RULES, DASHBOARD], ids=lambda file: file.name)
def test_alerts_and_pictures_ask_for_what_is_exported(
    file: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    families = all_families(project, monkeypatch)
    expressions = (
        [
            target["expr"]
            for panel in json.loads(file.read_text())["panels"]
            for target in panel["targets"]
        ]
        if file is DASHBOARD
        else re.findall(r"expr:(.*?)\n        \w+:", file.read_text(), re.DOTALL)
    )
    asked = {name for each in expressions for name in re.findall(r"\bimagectl_[a-z_]+", each)}
    assert len(asked) > 5
    assert asked <= families


def test_it_serves_until_it_is_stopped(project: Path) -> None:
    """And each round reads the settings anew: a location that is added is measured from then on."""
    command = [sys.executable, "-m", "imagectl", "metrics", "--listen", "127.0.0.1:0"]
    with running([*command, "--every", "1s"], cwd=project, stderr=subprocess.PIPE) as child:
        assert child.stderr is not None
        address = re.search(r"http://\S+/metrics", child.stderr.readline())
        assert address is not None
        try:
            first = shown(address[0], "imagectl_vms_total{")
            settings = project / "imagectl.yaml"
            written = settings.read_text()
            assert written.count("locations:\n") == 1
            more = "locations:\n  more: { type: directory, path: more }\n"
            settings.write_text(written.replace("locations:\n", more))
            later = shown(address[0], 'place="more"')
        finally:
            child.send_signal(signal.SIGINT)
        said = child.stderr.read()
        assert child.wait(30) == 130, said
        assert "imagectl_vms_total{" in first, said
        assert 'place="more"' not in first
        assert 'place="more"' in later, said
        assert "Traceback" not in said


def shown(address: str, awaited: str) -> str:
    """The numbers, when *awaited* is among them; what they are after a minute, else."""
    text, until = "", time.monotonic() + 60
    while awaited not in text and time.monotonic() < until:
        with urllib.request.urlopen(address, timeout=10) as answer:
            text = answer.read().decode()
        time.sleep(0.1)
    return text
