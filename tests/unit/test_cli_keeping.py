"""The verbs that keep versions, take them away from consumers and note who uses them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from support.cli import answer
from support.examples import BASE, ref
from support.projects import new_project, record_version, release

from imagectl.adapters.receipts import MARKER, FileReceipts
from imagectl.bootstrap.project import Project, open_project
from imagectl.cli.history import History
from imagectl.cli.hold import HoldDocument
from imagectl.cli.lease import LeaseDocument, LeaseEnded, Leases
from imagectl.cli.list import Listed
from imagectl.cli.output import Failure
from imagectl.cli.resolved import Resolved
from imagectl.cli.restore import RestoredDocument
from imagectl.cli.revoke import RevokedDocument
from imagectl.cli.show import Shown
from imagectl.cli.unhold import Unheld
from imagectl.model.change import Change, ConfirmGone, Operation, StepVersion
from imagectl.model.retention import Stage

Run = Callable[..., Result]
OLD, NEW = "debian-base@20261118.1", "debian-base@20261120.1"
FREE = "debian-base@20261119.1"
"""In no channel."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Two versions of debian-base in beta and in stable; the current folder."""
    made = new_project(tmp_path / "images")
    monkeypatch.chdir(made.root)
    release(made, OLD)
    release(made, NEW)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IMAGECTL_CONSUMER", "IMAGECTL_RECEIPTS", "IMAGECTL_CATALOG"):
        monkeypatch.delenv(name, raising=False)


def commit(project: Project, *operations: Operation) -> None:
    generation = project.catalog.snapshot(()).generation
    change = Change(
        f"test {generation}",
        generation,
        "cleaner@night",
        "cleanup",
        "plan 7",
        project.clock.now(),
        operations,
    )
    project.catalog.commit(change)


def taken_down(project: Project, text: str, *stages: Stage) -> None:
    for stage in stages:
        commit(project, StepVersion(ref(text), stage))
    project.publishers[0].publish(project.catalog.snapshot())


def test_hold_and_unhold(project: Project, imagectl: Run) -> None:
    said = answer(imagectl("hold", OLD, "--reason", "audit", "--json"), HoldDocument)
    assert (said["version"], said["by"], said["reason"]) == (OLD, "tester@unit", "audit")
    assert imagectl("hold", OLD, "--reason", "audit").stdout == (
        f"{OLD} is held by tester@unit: audit\n"
    )
    said = answer(imagectl("unhold", OLD, "--reason", "over", "--json"), Unheld)
    assert (said["by"], said["still"]) == ("tester@unit", [])
    result = imagectl("unhold", OLD, "--reason", "over")
    assert result.exit_code == 6
    assert "nobody holds it" in result.stderr


def test_somebody_elses_hold_is_taken_back_by_name(
    project: Project, imagectl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    imagectl("hold", OLD, "--reason", "mine")
    monkeypatch.setenv("IMAGECTL_ACTOR", "bob@desk")
    imagectl("hold", OLD, "--reason", "his")
    result = imagectl("unhold", OLD, "--by", "tester@unit", "--reason", "left")
    assert result.stdout == (
        f"{OLD} is no longer held by tester@unit\n    it is still held by bob@desk\n"
    )


@pytest.mark.parametrize("verb", ["hold", "unhold", "revoke", "restore"])
def test_each_asks_why_and_for_a_version(project: Project, imagectl: Run, verb: str) -> None:
    generation = project.catalog.snapshot(()).generation
    for arguments in ((OLD,), (OLD, "--reason", " "), ("debian-base", "--reason", "x")):
        assert imagectl(verb, *arguments).exit_code == 2
    assert imagectl(verb, "debian-base@20200101.1", "--reason", "x").exit_code == 6
    assert project.catalog.snapshot(()).generation == generation


def test_revoke_and_restore(project: Project, imagectl: Run) -> None:
    result = imagectl("revoke", NEW, "--reason", "CVE-2026-1")
    assert result.exit_code == 3
    assert "`imagectl rollback beta debian-base`" in result.stderr
    assert imagectl("resolve", "debian-base:beta").exit_code == 0

    said = answer(imagectl("revoke", OLD, "--reason", "CVE-2026-1", "--json"), RevokedDocument)
    assert (said["pointing"], said["children"], said["behind"]) == ([], [], [])
    result = imagectl("resolve", OLD, "--json")
    assert result.exit_code == 3
    assert "by tester@unit: CVE-2026-1" in answer(result, Failure)["error"]["reasons"][0]
    again = imagectl("revoke", OLD, "--reason", "twice")
    assert again.stdout == f"{OLD} is revoked already, by tester@unit: CVE-2026-1\n"

    restored = imagectl("restore", OLD, "--reason", "not affected", "--json")
    assert answer(restored, RestoredDocument)["generation"]
    assert imagectl("resolve", OLD).exit_code == 0
    assert imagectl("restore", OLD, "--reason", "x").stdout == f"{OLD} is not revoked\n"


def test_rather_an_error_than_that_version(project: Project, imagectl: Run) -> None:
    result = imagectl("revoke", NEW, "--reason", "a hole", "--even-if-released")
    assert result.exit_code == 0
    assert "beta points to it: its consumers get an error until" in result.stdout
    result = imagectl("resolve", "debian-base:beta")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "a hole" in result.stderr
    result = imagectl("verify")
    assert result.exit_code == 1
    assert "REVOKED in local" in result.stdout
    assert f"{NEW} is revoked, and a channel points to it" in result.stderr
    assert "--backfill" not in result.stderr
    assert imagectl("rollback", "beta", "debian-base").exit_code == 0
    assert imagectl("resolve", "debian-base:beta").stdout.strip() == project_path(project, OLD)


def project_path(project: Project, text: str) -> str:
    (placement,) = project.catalog.snapshot().placed(ref(text))
    return placement.reference


def test_leases(project: Project, imagectl: Run) -> None:
    assert imagectl("lease", "list").stderr == "nothing is leased\n"
    taken = ("lease", "take", OLD, "--for", "4h", "--consumer", "job-1")
    said = answer(imagectl(*taken, "--json"), LeaseDocument)
    assert said["consumer"] == "job-1"
    listed = answer(imagectl("lease", "list", "debian-base", "--json"), Leases)
    assert listed["leases"] == [said]
    assert imagectl("lease", "list").stdout.startswith(f"{OLD}  job-1  until 20")
    assert imagectl("lease", "list", "debian-bse").exit_code == 6
    ended = ("lease", "end", OLD, "--consumer", "job-1")
    assert answer(imagectl(*ended, "--json"), LeaseEnded)["ended"] is True
    assert imagectl(*ended).stdout == f"{OLD} is not leased by job-1\n"


@pytest.mark.parametrize("length", ["91d", "99999999d", "0s", "soon"])
def test_a_lease_has_a_sensible_length(project: Project, imagectl: Run, length: str) -> None:
    result = imagectl("lease", "take", OLD, "--for", length, "--consumer", "job-1")
    assert result.exit_code == 2
    assert project.catalog.snapshot().leases == {}


def test_who_resolves_is_noted_in_the_project(project: Project, imagectl: Run) -> None:
    assert project.receipts.latest() == {}
    said = answer(imagectl("resolve", OLD, "--consumer", "job-1", "--json"), Resolved)
    assert (said["receipt"], said["leased_until"], said["notices"]) == (True, None, [])
    assert list(project.receipts.latest()) == [ref(OLD)]
    assert answer(imagectl("resolve", NEW, "--json"), Resolved)["receipt"] is False
    assert list(project.receipts.latest()) == [ref(OLD)]


def test_who_resolves_without_a_project_notes_it_in_a_folder(
    project: Project, imagectl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / MARKER).touch()
    tree = project.root / str(project.settings.publish[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGECTL_CATALOG", str(tree))
    monkeypatch.setenv("IMAGECTL_ROOT", str(project.trust / "root.json"))
    monkeypatch.setenv("IMAGECTL_CONSUMER", "job-2")
    monkeypatch.setenv("IMAGECTL_RECEIPTS", str(shared))
    result = imagectl("resolve", OLD)
    assert (result.exit_code, result.stderr) == (0, "")
    assert list(FileReceipts(shared).latest()) == [ref(OLD)]


@pytest.mark.parametrize("folder", ["nowhere", None])
def test_a_receipt_that_cannot_be_written_is_a_warning(
    project: Project,
    imagectl: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folder: str | None,
) -> None:
    tree = project.root / str(project.settings.publish[0])
    monkeypatch.setenv("IMAGECTL_ROOT", str(project.trust / "root.json"))
    monkeypatch.chdir(tmp_path)
    where = ("--receipts", folder) if folder else ()
    result = imagectl("resolve", OLD, "--catalog", str(tree), "--consumer", "job-2", *where)
    assert result.exit_code == 0
    assert result.stdout.strip() == project_path(project, OLD)
    assert "warning: not noted that job-2 has resolved it" in result.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_shared_folder_of_receipts_has_to_be_there(project: Project, imagectl: Run) -> None:
    settings = project.root / "imagectl.yaml"
    settings.write_text(settings.read_text() + "\nreceipts: shared\n")
    result = imagectl("resolve", OLD, "--consumer", "job-1")
    assert "shared is not the folder of receipts: its file RECEIPTS is not there" in result.stderr
    (project.root / "shared").mkdir()
    (project.root / "shared" / MARKER).touch()
    assert imagectl("resolve", OLD, "--consumer", "job-1").stderr == ""
    assert list(open_project(project.root).receipts.latest()) == [ref(OLD)]


def test_resolve_takes_a_lease(project: Project, imagectl: Run) -> None:
    said = answer(
        imagectl("resolve", OLD, "--consumer", "job-1", "--lease", "4h", "--json"), Resolved
    )
    (lease,) = project.catalog.snapshot().leases[ref(OLD)]
    assert lease.consumer == "job-1"
    assert abs(lease.until - lease.since - timedelta(hours=4)) < timedelta(seconds=5)
    assert said["leased_until"] == f"{lease.until:%Y-%m-%dT%H:%M:%SZ}"
    unnamed = imagectl("resolve", "debian-base:beta", "--lease", "1h")
    assert "leased as tester@unit; --consumer ID" in unnamed.stderr
    (lease,) = project.catalog.snapshot().leases[ref(NEW)]
    assert lease.consumer == "tester@unit"


def test_a_lease_is_taken_or_nothing_is_answered(
    project: Project, imagectl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = str(project.root / str(project.settings.publish[0]))
    other = new_project(tmp_path / "other")
    monkeypatch.setenv("IMAGECTL_ROOT", str(project.trust / "root.json"))
    monkeypatch.chdir(tmp_path)
    result = imagectl("resolve", OLD, "--catalog", tree, "--lease", "1h")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is not in a project" in result.stderr
    result = imagectl("-C", str(other.root), "resolve", OLD, "--catalog", tree, "--lease", "1h")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is not the project's" in result.stderr
    # What the catalog has taken away since the tree was written is not to be had either.
    commit(project, *(StepVersion(ref(OLD), each) for each in list(Stage)[1:4]))
    monkeypatch.chdir(project.root)
    result = imagectl("resolve", OLD, "--lease", "1h")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "cannot be leased" in result.stderr


def test_a_notice_is_said_beside_the_answer(project: Project, imagectl: Run) -> None:
    taken_down(project, OLD, Stage.DEPRECATED)
    result = imagectl("-q", "resolve", OLD)
    assert result.stdout.strip() == project_path(project, OLD)
    assert "warning: 20261118.1 is deprecated since" in result.stderr
    assert "by cleaner@night: plan 7" in result.stderr
    said = answer(imagectl("resolve", OLD, "--json"), Resolved)
    assert len(said["notices"]) == 1


def test_what_is_gone_is_gone_for_who_pins_it(project: Project, imagectl: Run) -> None:
    taken_down(project, OLD, *list(Stage)[1:4])
    result = imagectl("resolve", OLD)
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"imagectl cleanup undo {OLD}" in result.stderr
    taken_down(project, OLD, Stage.DELETED)
    result = imagectl("resolve", OLD)
    assert (result.exit_code, result.stdout) == (6, "")
    assert f"imagectl cleanup undelete {OLD}" in result.stderr
    result = imagectl("publish", OLD)
    assert result.exit_code == 3
    assert "is put nowhere" in result.stderr


def test_show_tells_what_protects_a_version(project: Project, imagectl: Run) -> None:
    assert "held" not in imagectl("show", OLD).stdout
    imagectl("hold", OLD, "--reason", "audit")
    imagectl("lease", "take", OLD, "--for", "4h", "--consumer", "job-1")
    imagectl("revoke", OLD, "--reason", "a hole")
    text = imagectl("show", OLD).stdout
    assert "held      by tester@unit since 20" in text
    assert "leased    by job-1 until 20" in text
    assert "REVOKED   20" in text
    said = answer(imagectl("show", OLD, "--json"), Shown)["keeping"]
    assert said["holds"][0]["reason"] == "audit"
    assert said["leases"][0]["over"] is False
    assert said["revoked"]["reason"] == "a hole"
    assert said["stage"] == {"stage": "active", "at": None, "by": None, "reason": None}


def test_show_tells_when_a_version_may_go_next(project: Project, imagectl: Run) -> None:
    record_version(project, FREE)
    text = imagectl("show", FREE).stdout
    assert "next      may become deprecated from 20" in text
    assert "(young: until 20" in text
    taken_down(project, FREE, Stage.DEPRECATED)
    said = answer(imagectl("show", FREE, "--json"), Shown)["next"]
    assert (said["to"], said["trouble"], len(said["reasons"])) == ("obsolete", "", 1)
    assert datetime.fromisoformat(said["earliest"]) > project.clock.now()
    imagectl("hold", FREE, "--reason", "audit")
    text = imagectl("show", FREE).stdout
    assert "next      stays deprecated (held: tester@unit; young: until 20" in text
    said = answer(imagectl("show", FREE, "--json"), Shown)["next"]
    assert (said["to"], said["earliest"]) == ("obsolete", None)
    assert "next      stays active (window: beta; " in imagectl("show", OLD).stdout


def test_what_cannot_be_told_of_children_makes_no_revocation_undone(
    project: Project, imagectl: Run
) -> None:
    """Nobody reads on, on the worst night, where it says that nothing was done."""
    imagectl("hold", OLD, "--reason", "audit")
    project.close()
    with closing(sqlite3.connect(project.root / ".imagectl/catalog.sqlite3")) as database:
        database.execute("DELETE FROM holds")
        database.commit()
    revoked = imagectl("revoke", NEW, "--reason", "a hole", "--even-if-released")
    assert revoked.exit_code == 0, revoked.stderr
    assert f"{NEW} is revoked" in revoked.stdout
    assert f"{NEW} IS revoked; what was built on it cannot be told:" in revoked.stderr
    assert f"in holds, {OLD} by tester@unit is missing" in revoked.stderr
    assert "`imagectl catalog verify`" in revoked.stderr
    again = imagectl("revoke", NEW, "--reason", "a hole", "--even-if-released", "--json")
    assert answer(again, RevokedDocument)["children"] is None


def test_show_shows_the_rest_where_that_cannot_be_told(project: Project, imagectl: Run) -> None:
    """Consumers' receipts may be on a disk that is not mounted."""
    receipts = project.root / ".imagectl" / "receipts"
    receipts.mkdir(exist_ok=True)
    (receipts / MARKER).unlink(missing_ok=True)
    result = imagectl("show", OLD)
    assert result.exit_code == 0
    assert "next      cannot tell when it may go down: " in result.stdout
    assert "1 placement" in result.stdout


def test_show_tells_what_became_of_what_was_deleted(project: Project, imagectl: Run) -> None:
    taken_down(project, OLD, *list(Stage)[1:])
    text = imagectl("show", OLD).stdout
    assert "stage     deleted since 20" in text
    assert "1 placement that a cleanup took away" in text
    assert "whether it is gone is NOT KNOWN yet; by cleaner@night: plan 7" in text
    assert "not there, and required" not in text
    (stone,) = project.catalog.snapshot().buried(ref(OLD))
    commit(project, ConfirmGone(stone))
    assert "local: qcow2 amd64, gone just now" in imagectl("show", OLD).stdout
    (said,) = answer(imagectl("show", OLD, "--json"), Shown)["keeping"]["tombstones"]
    assert (said["location"], said["returned"]) == ("local", None)
    assert said["gone"]


def test_list_tells_in_short(project: Project, imagectl: Run) -> None:
    assert "STATE" not in imagectl("list", "debian-base").stdout
    imagectl("hold", NEW, "--reason", "audit")
    taken_down(project, OLD, Stage.DEPRECATED)
    lines = imagectl("list", "debian-base").stdout.splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["STATE", "tester@unit", "deprecated"]
    versions = answer(imagectl("list", "--json"), Listed)["images"][0]["versions"]
    assert [each["keeping"]["stage"]["stage"] for each in versions] == ["active", "deprecated"]


def test_history_tells_who_kept_and_who_took_away_what(project: Project, imagectl: Run) -> None:
    record_version(project, "debian-ci@20261119.1")
    imagectl("hold", OLD, "--reason", "audit")
    imagectl("unhold", OLD, "--reason", "over")
    imagectl("revoke", OLD, "--reason", "a hole")
    imagectl("restore", OLD, "--reason", "no hole")
    taken_down(project, OLD, *list(Stage)[1:])
    (stone,) = project.catalog.snapshot().buried(ref(OLD))
    commit(project, ConfirmGone(stone))
    said = answer(imagectl("history", "--json"), History)
    assert [(each["act"], each["what"]) for each in reversed(said["acts"])] == [
        ("hold", ""),
        ("unhold", "tester@unit"),
        ("revoke", ""),
        ("restore", ""),
        *(("stage", each.value) for each in list(Stage)[1:]),
        ("gone", "local"),
    ]
    assert {each["version"] for each in said["acts"]} == {OLD}
    assert answer(imagectl("history", "--image", BASE, "--json"), History) == said
    assert answer(imagectl("history", "beta", "--json"), History)["acts"] == []
    lines = imagectl("history").stdout.splitlines()
    assert f"  {OLD}  gone from local" in lines[0]
    assert lines[1] == "    by cleaner@night: plan 7"
    assert f"  {OLD}  REVOKED" in "\n".join(lines)
    assert "    by tester@unit (the hold of tester@unit): over" in lines
    assert lines[-1].startswith("    arrived by a build of")
