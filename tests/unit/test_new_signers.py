"""While others are to sign a role than until now, and have not yet, nothing is lost: not what
consumers get, not what is signed already, and not the way to sign the rest."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.cli import command_line
from support.examples import STABLE
from support.teams import IMAGE, Team

from imagectl.consumer import open_catalog


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    return Team(tmp_path, command_line(monkeypatch))


def versions(team: Team) -> list[str]:
    """Of the image, as consumers see them."""
    index = team.consumer().index(IMAGE)
    assert index is not None
    return sorted(map(str, index.versions))


def hand_over(team: Team) -> None:
    """Stable is to take the signatures of alice and bob from now on; neither has signed yet."""
    team.done(
        *("catalog", "rotate-keys", "channel-stable", "--reason", "two people"),
        *("--add", team.public("alice"), "--add", team.public("bob")),
        *("--remove", "online", "--threshold", "2"),
    )


@pytest.mark.parametrize("lost", ["online", "targets"])
def test_new_signers_can_sign_also_where_nothing_is_published_before(team: Team, lost: str) -> None:
    """A key dies just then: what is published can be signed by nobody any more."""
    hand_over(team)
    if lost == "online":
        team.private("online").unlink()
    change = ("catalog", "rotate-keys", lost, "--new", "--remove", lost, "--reason", "it died")
    said = " ".join(team.refused(*change, code=1).split())
    assert "`imagectl sign channel-stable`: once they have, all is published" in said
    team.sign("channel-stable", "alice")
    team.sign("channel-stable", "bob")
    assert team.stable() == "20261120.1"
    assert not team.pending("channel-stable").exists()


@pytest.mark.parametrize("others", [False, True])
def test_an_image_stays_until_the_keys_of_its_own_have_signed_it(team: Team, others: bool) -> None:
    """*others*: those of all images are not here either."""
    if others:
        rotate = ("catalog", "rotate-keys", "images", "--reason", "bob looks at all")
        team.done(*rotate, "--add", team.public("bob"), "--remove", "online")
        team.sign("images", "bob")
    role = f"image-{IMAGE}"
    rotate = ("catalog", "rotate-keys", role, "--reason", "its own")
    assert f"{role} waits for" in team.done(*rotate, "--add", team.public("alice"))
    assert versions(team) == ["20261120.1"]
    assert team.consumer().images() == {IMAGE}
    team.next_version()
    team.done("catalog", "publish")
    assert team.consumer().images() == {IMAGE}
    assert versions(team) == (["20261120.1"] if others else ["20261120.1", "20261120.2"])
    team.sign(role, "alice")
    assert versions(team) == ["20261120.1", "20261120.2"]
    assert team.consumer().images() == {IMAGE}


def test_who_may_not_sign_any_more_keeps_nobody_from_signing(team: Team) -> None:
    """Alice's key is stolen after she has signed what waits."""
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    team.sign("channel-stable", "alice")
    team.key["carol"] = team.make_key("carol")
    said = team.done(
        *("catalog", "rotate-keys", "channel-stable", "--reason", "stolen"),
        *("--remove", "alice", "--add", team.public("carol")),
    )
    assert "channel-stable waits for 2 more signatures of bob" in said
    team.sign("channel-stable", "bob")
    assert team.stable() == "20261120.1"
    team.sign("channel-stable", "carol")
    assert team.stable() == "20261120.2"


@pytest.mark.parametrize("promoted", [False, True])
def test_another_tree_begins_with_what_people_have_signed(team: Team, promoted: bool) -> None:
    """They did so on another machine. *promoted*: what they have signed is not the last word."""
    team.two_people()
    if promoted:
        team.next_version()
        team.done("promote", "stable")
        shutil.rmtree(team.root / ".imagectl" / "pending")
    shutil.rmtree(team.root / ".imagectl" / "signed")
    settings = team.root / "imagectl.yaml"
    settings.write_text(settings.read_text().replace("history: true }", "history: true }, second"))
    said = " ".join(team.done("catalog", "publish").split())
    second = open_catalog(
        str(team.root / "second"), root=team.pinned, cache=team.folder / "c", now=datetime.now(UTC)
    )
    head = second.head(IMAGE, STABLE)
    if promoted:
        assert head is None
        assert "consumers get nothing of it until then where nothing of it is published" in said
    else:
        assert head is not None
        assert "waits" not in said
