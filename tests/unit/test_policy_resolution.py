"""What a consumer gets, and that nothing is ever guessed for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from support.examples import BETA, CI, NOW, STABLE, digest, ref
from support.releases import DC1, LOCAL, day

from imagectl.errors import BadUsage, NotFound, Refused
from imagectl.model.channel import MoveKind
from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    ImageName,
    LocationName,
    VersionId,
)
from imagectl.model.published import (
    PublishedHead,
    PublishedIndex,
    PublishedPlacement,
    PublishedVersion,
)
from imagectl.policy.resolution import (
    Choice,
    Resolution,
    ResolutionRequest,
    choose,
    find_document,
    no_head,
    no_image,
    resolve,
)

ONE = ref("debian-ci@20261120.1")
HEAD = PublishedHead(
    CI, STABLE, ONE.version, digest("doc"), MoveKind.PROMOTE, NOW, "all good", generation=7
)
ANY = ResolutionRequest(CI)


def placed(
    location: LocationName = LOCAL,
    format: Format = Format.QCOW2,
    architecture: Architecture = Architecture.AMD64,
) -> PublishedPlacement:
    name = f"{location}-{format.value}-{architecture.value}"
    return PublishedPlacement(
        location, format, architecture, f"/{name}", name, digest(name), size=310_000_000
    )


def version(*placements: PublishedPlacement) -> PublishedVersion:
    return PublishedVersion(
        ONE, NOW, "a CI worker", None, digest("tree"), 12, "0.1.0", placements or (placed(),)
    )


def got(
    *placements: PublishedPlacement, request: ResolutionRequest = ANY, at: float = 1
) -> Resolution:
    choice = Choice(CI, STABLE, None, "channel stable, as nothing else was said")
    return resolve(choice, HEAD, version(*placements), request, day(at))


def test_stable_is_what_one_gets_who_says_nothing() -> None:
    assert choose(ANY).channel == STABLE


def test_beta_is_opted_into() -> None:
    choice = choose(replace(ANY, channel=BETA))
    assert (choice.channel, choice.version) == (BETA, None)


@pytest.mark.parametrize(
    ("branch", "channel"), [("next", BETA), ("main", STABLE), (None, STABLE), ("nex", STABLE)]
)
def test_some_branches_follow_another_channel(branch: str | None, channel: ChannelName) -> None:
    request = replace(ANY, channel=STABLE, branches={"next": BETA}, branch=branch)
    assert choose(request).channel == channel


def test_a_pin_wins_over_everything() -> None:
    request = replace(
        ANY, channel=BETA, branches={"next": BETA}, branch="next", version=ONE.version
    )
    choice = choose(request)
    assert (choice.channel, choice.version) == (None, ONE.version)


def test_a_channel_that_is_not_there_is_never_another_one() -> None:
    for request in (
        replace(ANY, channel=BETA),
        replace(ANY, branches={"next": BETA}, branch="next"),
    ):
        error = no_head(choose(request), [STABLE])
        assert "debian-ci has nothing in channel beta" in str(error)
        assert error.hint == "`imagectl resolve debian-ci:stable`"
    error = no_head(choose(replace(ANY, channel=ChannelName("stabel"))), [BETA, STABLE])
    assert error.hint == "did you mean stable?"


def test_nothing_in_stable_yet_says_where_it_is() -> None:
    error = no_head(choose(ANY), [BETA])
    assert error.why == "channel stable, as nothing else was said; it is in beta"


def test_an_unknown_image_is_not_found() -> None:
    error = no_image(ImageName("debian-cl"), [CI])
    assert "no image debian-cl" in str(error)
    assert error.hint == "did you mean debian-ci?"
    assert "`imagectl build` makes the first" in no_image(CI, ()).hint


def test_a_pin_that_is_not_published_is_not_found() -> None:
    index = PublishedIndex({ONE.version: digest("doc")})
    assert find_document(CI, ONE.version, index, None) == digest("doc")
    with pytest.raises(NotFound, match="no debian-ci@20261120") as caught:
        find_document(CI, VersionId("20261120", 2), index, None)
    assert "its newest is 20261120.1" in caught.value.why


def test_the_answer_says_why() -> None:
    answer = got(at=2)
    assert (answer.ref, answer.channel, answer.reference) == (ONE, STABLE, "/local-qcow2-amd64")
    assert answer.age == timedelta(days=2)
    assert answer.reasons == (
        "channel stable, as nothing else was said",
        "stable points to 20261120.1 since 2026-11-20 12:00 UTC (promote: all good)",
        "built 2 d ago, 12 tests passed",
    )


def test_an_image_older_than_allowed_is_refused() -> None:
    request = replace(ANY, max_age=timedelta(days=30))
    assert got(request=request, at=30).ref == ONE
    with pytest.raises(Refused, match="too old") as caught:
        got(request=request, at=30.5)
    assert caught.value.reasons == (
        "built on 2026-11-20 12:00 UTC, 30 d 12 h ago; max_age allows 30 d",
    )


def test_what_is_left_open_is_asked_for() -> None:
    raw = placed(format=Format.RAW)
    far = placed(DC1)
    with pytest.raises(BadUsage, match="in 2 ways") as caught:
        got(placed(), far)
    assert caught.value.hint == "add --location dc1 or local"
    assert caught.value.why == "qcow2 for amd64 in local; qcow2 for amd64 in dc1"
    with pytest.raises(BadUsage) as caught:
        got(placed(), raw, far)
    assert caught.value.hint == "add --location dc1 or local and --format qcow2 or raw"
    assert got(placed(), raw, far, request=replace(ANY, location=DC1)).location == DC1
    assert got(placed(), raw, request=replace(ANY, format=Format.RAW)).format is Format.RAW


def test_what_is_not_to_be_had_is_not_found() -> None:
    with pytest.raises(NotFound, match="with location dc2 and format qcow2") as caught:
        got(request=replace(ANY, location=LocationName("dc2"), format=Format.QCOW2))
    assert caught.value.why == "there is: qcow2 for amd64 in local"
    with pytest.raises(NotFound) as caught:
        got(request=replace(ANY, location=LocationName("locall")))
    assert caught.value.hint == "did you mean local?"
    arm = replace(ANY, architecture=Architecture.ARM64)
    with pytest.raises(NotFound, match="architecture arm64"):
        got(request=arm)
    both = (placed(), placed(architecture=Architecture.ARM64))
    assert got(*both, request=arm).architecture is Architecture.ARM64
