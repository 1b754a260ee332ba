"""``promote --announce-in`` and ``announce``, on a real project in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result
from support.cli import answer
from support.projects import new_project, release

from imagectl.bootstrap.consumer import open_published
from imagectl.bootstrap.project import Project
from imagectl.cli.announce import Announcements
from imagectl.cli.list import Listed
from imagectl.cli.moves import Moved
from imagectl.cli.show import Shown
from imagectl.model.announcement import Brownout
from imagectl.model.change import AnnounceDeprecation, AnnounceMove, Change
from imagectl.model.names import ChannelName, ImageName, ImageRef, VersionId

Run = Callable[..., Result]
OLD, NEW = "debian-base@20261118.1", "debian-base@20261120.1"
BASE, STABLE = ImageName("debian-base"), ChannelName("stable")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """OLD is stable, NEW in beta; the current folder."""
    made = new_project(tmp_path / "images")
    release(made, OLD)
    monkeypatch.chdir(made.root)
    yield made
    made.close()


@pytest.fixture
def ready(project: Project, imagectl: Run) -> Project:
    assert imagectl("promote", "stable").exit_code == 0
    release(project, NEW)
    return project


def head(project: Project) -> str:
    return str(project.catalog.snapshot().head(BASE, STABLE))


def announce_earlier(project: Project) -> None:
    """NEW, a week ago, for a minute ago."""
    now = project.clock.now()
    due = now - timedelta(minutes=1)
    generation = project.catalog.snapshot(()).generation
    operation = AnnounceMove(BASE, STABLE, VersionId("20261120", 1), due)
    at = now - timedelta(days=7)
    change = Change("told", generation, "ana", "announce", "Debian 12.9", at, (operation,))
    project.catalog.commit(change)


def test_announcing_tells_and_moves_nothing(ready: Project, imagectl: Run) -> None:
    result = imagectl(
        "promote", "stable", "--announce-in", "7d", "--reason", "Debian 12.9", "--json"
    )
    said = answer(result, Moved)
    assert (said["due"] is not None, said["dry_run"]) == (True, False)
    assert [(each["to"], each["verdict"]) for each in said["decisions"]] == [("20261120.1", "move")]
    assert head(ready) == "20261118.1"
    (listed,) = answer(imagectl("announce", "list", "--json"), Announcements)["announcements"]
    assert (listed["of"], listed["to"]) == ("debian-base:stable", "20261120.1")
    assert (listed["reason"], listed["due"]) == ("Debian 12.9", said["due"])
    assert ready.catalog.verify() == ()
    shown = ready.publishers[0].shown()
    assert shown is not None
    assert shown.generation == said["generation"]
    history = imagectl("history").stdout
    assert "announced to go to 20261120.1" in history


def test_it_is_refused_before_its_time(ready: Project, imagectl: Run) -> None:
    imagectl("promote", "stable", "--announce-in", "7d")
    result = imagectl("promote", "stable")
    assert result.exit_code == 3
    assert "UTC, in 7 d; `--now" in " ".join(result.stderr.split())
    assert head(ready) == "20261118.1"


def test_earlier_takes_a_reason(ready: Project, imagectl: Run) -> None:
    imagectl("promote", "stable", "--announce-in", "7d")
    assert imagectl("promote", "stable", "--now").exit_code == 2
    assert head(ready) == "20261118.1"
    assert imagectl("promote", "stable", "--now", "--reason", "CVE-2026-1").exit_code == 0
    assert head(ready) == "20261120.1"
    assert "nothing is announced" in imagectl("announce", "list").stderr


def test_when_its_time_has_come_it_moves(ready: Project, imagectl: Run) -> None:
    announce_earlier(ready)
    release(ready, "debian-base@20261121.1")
    said = answer(imagectl("promote", "stable", "--json"), Moved)
    assert said["due"] is None
    assert head(ready) == "20261120.1"
    assert ready.catalog.snapshot().announced == {}


def test_a_dry_run_tells_nobody(ready: Project, imagectl: Run) -> None:
    result = imagectl("promote", "stable", "--announce-in", "7d", "--dry-run")
    assert "20261118.1 -> 20261120.1  would be announced for" in result.stdout
    assert ready.catalog.snapshot().announced == {}


def test_what_was_announced_is_withdrawn(ready: Project, imagectl: Run) -> None:
    imagectl("promote", "stable", "--announce-in", "7d")
    result = imagectl("announce", "withdraw", "debian-base:stable", "--reason", "a bug")
    assert result.exit_code == 0
    assert "withdrawn: debian-base:stable goes to 20261120.1" in result.stdout
    assert imagectl("promote", "stable").exit_code == 0
    assert head(ready) == "20261120.1"
    again = imagectl("announce", "withdraw", "debian-base:stable", "--reason", "a bug")
    assert again.exit_code == 6


def test_now_or_later(ready: Project, imagectl: Run) -> None:
    assert imagectl("promote", "stable", "--announce-in", "7d", "--now").exit_code == 2
    assert imagectl("promote", "stable", "--announce-in", "0d").exit_code == 2


def test_an_end_of_support_is_announced(ready: Project, imagectl: Run) -> None:
    begins = (ready.clock.now() + timedelta(days=2)).strftime("%Y-%m-%dT%H:%MZ")
    said = answer(
        imagectl(
            *("announce", "deprecate", "debian-base:beta", "--in", "30d", "--json"),
            *("--successor", "debian-base:stable", "--brownout", f"{begins}/2h"),
            *("--reason", "one channel is enough"),
        ),
        Announcements,
    )
    (made,) = said["announcements"]
    assert (made["kind"], made["of"]) == ("deprecation", "debian-base:beta")
    assert (made["successor"], made["to"]) == ("debian-base:stable", None)
    assert made["brownouts"][0]["begins"] == begins.replace("Z", ":00Z")


@pytest.mark.parametrize("text", ["tomorrow/2h", "2026-12-01T09:00/2h", "2026-12-01T09:00Z", "/"])
def test_a_brownout_that_says_no_time(ready: Project, imagectl: Run, text: str) -> None:
    result = imagectl(
        *("announce", "deprecate", "debian-base:beta", "--in", "30d", "--reason", "x"),
        *("--brownout", text),
    )
    assert result.exit_code == 2
    assert ready.catalog.snapshot().announced == {}


def test_a_brownout_without_a_successor_is_refused(ready: Project, imagectl: Run) -> None:
    begins = (ready.clock.now() + timedelta(days=2)).strftime("%Y-%m-%dT%H:%MZ")
    result = imagectl(
        *("announce", "deprecate", "debian-base:beta", "--in", "30d", "--reason", "x"),
        *("--brownout", f"{begins}/2h"),
    )
    assert result.exit_code == 3
    assert "--successor" in result.stderr


def test_consumers_are_shown_what_is_announced(ready: Project, imagectl: Run) -> None:
    imagectl("promote", "stable", "--announce-in", "7d", "--reason", "Debian 12.9")
    tree = open_published(ready.root, None, ready.clock.now())
    (told,) = tree.announcements()
    assert (str(told.of), told.reason, told.by) == ("debian-base:stable", "Debian 12.9", "")
    imagectl("announce", "withdraw", "debian-base:stable", "--reason", "a bug")
    later = open_published(ready.root, None, ready.clock.now())
    assert later.announcements() == ()


def test_consumers_are_shown_the_end_of_a_whole_image(ready: Project, imagectl: Run) -> None:
    imagectl("announce", "deprecate", "debian-base", "--in", "30d", "--reason", "nobody uses it")
    tree = open_published(ready.root, None, ready.clock.now())
    assert [str(each.of) for each in tree.announcements()] == ["debian-base"]


def test_consumers_who_ask_are_told_on_standard_error(
    ready: Project, imagectl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    imagectl("promote", "stable", "--announce-in", "7d", "--reason", "Debian 12.9")
    quiet, told = (imagectl("resolve", "debian-base", *more) for more in ((), ("--notices",)))
    assert quiet.stdout == told.stdout
    assert "goes to" not in quiet.stderr
    assert "debian-base:stable goes to 20261120.1" in " ".join(told.stderr.split())
    for said, heard in (("1", True), ("true", True), ("0", False)):
        monkeypatch.setenv("IMAGECTL_NOTICES", said)
        assert ("goes to" in imagectl("resolve", "debian-base").stderr) is heard, said
    monkeypatch.setenv("IMAGECTL_NOTICES", "perhaps")
    assert imagectl("resolve", "debian-base").exit_code == 2
    monkeypatch.delenv("IMAGECTL_NOTICES")
    (ready.root / ".imagectl.yaml").write_text("image: debian-base\nnotices: true\n")
    assert "goes to 20261120.1" in " ".join(imagectl("resolve").stderr.split())


def test_whoever_pulls_or_has_locked_is_told_too(
    ready: Project, imagectl: Run, tmp_path: Path
) -> None:
    reason = ("--reason", "nobody uses it")
    assert imagectl("announce", "deprecate", "debian-base", "--in", "30d", *reason).exit_code == 0
    assert imagectl("resolve", "debian-base", "--lock", "locked.json").exit_code == 0
    for asked in (("debian-base",), ("--locked", "locked.json")):
        for verb in (("resolve",), ("pull", "--to", str(tmp_path / "disk"))):
            quiet, told = (imagectl(*verb, *asked, *more) for more in ((), ("--notices",)))
            assert told.exit_code == quiet.exit_code == 0, told.stderr
            assert "nobody uses it" in " ".join(told.stderr.split())
            assert "nobody uses it" not in quiet.stderr


def test_a_brownout_of_what_is_locked_can_be_passed(ready: Project, imagectl: Run) -> None:
    now = ready.clock.now()
    assert imagectl("resolve", "debian-base", "--lock", "locked.json").exit_code == 0
    window = Brownout(now - timedelta(minutes=1), now + timedelta(hours=1))
    operation = AnnounceDeprecation(
        ImageRef(BASE), now + timedelta(days=9), ImageRef(BASE, ChannelName("beta")), (window,)
    )
    generation = ready.catalog.snapshot(()).generation
    ready.catalog.commit(
        Change("told", generation, "ana", "announce", "one is enough", now, (operation,))
    )
    assert imagectl("catalog", "publish").exit_code == 0
    assert imagectl("resolve", "--locked", "locked.json").exit_code == 3
    passed = imagectl("resolve", "--locked", "locked.json", "--despite-brownout")
    assert passed.exit_code == 0, passed.stderr


def test_a_brownout_is_refused_and_can_be_passed(
    ready: Project, imagectl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = ready.clock.now()
    at = now - timedelta(days=1)
    window = Brownout(now - timedelta(minutes=1), now + timedelta(hours=1))
    of, successor = ImageRef(BASE, ChannelName("beta")), ImageRef(BASE, STABLE)
    operation = AnnounceDeprecation(of, now + timedelta(days=9), successor, (window,))
    generation = ready.catalog.snapshot(()).generation
    ready.catalog.commit(
        Change("told", generation, "ana", "announce", "one is enough", at, (operation,))
    )
    assert imagectl("catalog", "publish").exit_code == 0
    refused = imagectl("resolve", "debian-base:beta")
    assert refused.exit_code == 3
    said = " ".join(refused.stderr.split())
    assert "refused on purpose until" in said
    assert "one is enough" in said
    passed = imagectl("resolve", "debian-base:beta", "--despite-brownout")
    assert passed.exit_code == 0
    with monkeypatch.context() as job:
        job.setenv("IMAGECTL_DESPITE_BROWNOUT", "1")
        assert imagectl("resolve", "debian-base:beta").stdout == passed.stdout
    (ready.root / ".imagectl.yaml").write_text(
        "image: debian-base\nchannel: beta\ndespite_brownout: true\n"
    )
    assert imagectl("resolve").stdout == passed.stdout


def test_list_and_show_say_what_is_coming(ready: Project, imagectl: Run) -> None:
    imagectl("promote", "stable", "--announce-in", "7d", "--reason", "Debian 12.9")
    assert "announced: debian-base:stable goes to 20261120.1 on" in imagectl("list").stdout
    (image,) = (
        each
        for each in answer(imagectl("list", "--json"), Listed)["images"]
        if each["name"] == "debian-base"
    )
    coming = {each["name"]: each["coming"] for each in image["channels"]}
    assert coming["beta"] is None
    assert coming["stable"]["version"] == "20261120.1"
    for text in (OLD, NEW):
        (notice,) = answer(imagectl("show", text, "--json"), Shown)["announced"]
        assert notice.startswith("debian-base:stable goes to 20261120.1 on")
        assert "announced" in imagectl("show", text).stdout


def test_what_is_announced_is_kept_from_cleanups(ready: Project, imagectl: Run) -> None:
    """P1: consumers were told of it, so it has to be there."""
    imagectl("promote", "stable", "--announce-in", "7d")
    assert "announced: stable" in imagectl("show", NEW).stdout
