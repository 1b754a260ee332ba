"""Who we are to Google, what that may do, and that nobody else is told of it."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
from peers.google.calls import Call, Refuse
from support.deleting import at_once
from support.examples import CI, NOW, STABLE
from support.gce_images import at_google, put
from support.places import surroundings
from support.places.gce import OnGoogle
from support.places.place import LOCAL

from imagectl.adapters.locations.gce_permissions import IN_PROJECT, ON_BUCKET, TO_SHARE
from imagectl.adapters.locations.google_account import log_in
from imagectl.errors import (
    Denial,
    Denied,
    Failed,
)
from imagectl.model.place import Ambient
from imagectl.model.version import Artifact
from imagectl.services.ports.locations import Mark


@pytest.fixture
def place(tmp_path: Path) -> Iterator[OnGoogle]:
    with at_google(tmp_path) as opened:
        yield opened


@pytest.fixture
def made(place: OnGoogle, tmp_path: Path) -> tuple[Artifact, Path]:
    return place.artifact(tmp_path)


@pytest.mark.parametrize("named", [True, False], ids=["a key that is named", "adc"])
def test_with_an_endpoint_no_call_goes_to_another_host(tmp_path: Path, named: bool) -> None:
    looked_up: set[object] = set()
    real = socket.getaddrinfo

    def watched(host: object, *rest: object, **more: object) -> object:
        looked_up.add(host)
        return real(host, *rest, **more)  # type: ignore[arg-type]  # as it was asked

    with at_google(tmp_path, **({} if named else {"credentials": Ambient.ADC})) as place:
        made = place.artifact(tmp_path)
        with (
            mock.patch.dict(os.environ, {"GOOGLE_APPLICATION_CREDENTIALS": str(place.key)}),
            mock.patch.object(socket, "getaddrinfo", watched),
        ):
            placed = put(place, made)
            assert place.location.probe().identity.startswith("imagectl@")
            place.location.verify(placed, NOW)
            place.location.delete(placed, at_once)
    assert looked_up == {"127.0.0.1"}


def test_with_an_endpoint_adc_is_no_login_that_asks_google(tmp_path: Path) -> None:
    login = tmp_path / "application_default_credentials.json"
    person = {"client_id": "1", "client_secret": "s3cret", "refresh_token": "1//refresh"}
    login.write_text(json.dumps({"type": "authorized_user", **person}))
    around = surroundings(tmp_path)
    with mock.patch.dict(os.environ, {"GOOGLE_APPLICATION_CREDENTIALS": str(login)}):
        log_in(LOCAL, Ambient.ADC, around, private=False)
        with pytest.raises(Denied) as told:
            log_in(LOCAL, Ambient.ADC, around, private=True)
    assert told.value.denial is Denial.WRONG
    assert str(login) in told.value.where
    with (
        mock.patch.dict(os.environ, {"GOOGLE_APPLICATION_CREDENTIALS": ""}),
        pytest.raises(Denied, match="with an `endpoint`") as told,
    ):
        log_in(LOCAL, Ambient.ADC, around, private=True)
    assert told.value.denial is Denial.MISSING


def test_an_upload_that_is_sent_elsewhere_is_not_followed(
    place: OnGoogle, made: tuple[Artifact, Path]
) -> None:
    begin = place.peer.handlers["storage.objects.insert/start"]

    def elsewhere(call: Call) -> object:
        return begin(replace(call, base="https://elsewhere.example"))

    place.peer.handlers["storage.objects.insert/start"] = elsewhere
    with pytest.raises(Failed, match="sends uploads elsewhere"):
        put(place, made)


def test_a_clock_that_is_wrong_is_told(place: OnGoogle, made: tuple[Artifact, Path]) -> None:
    """Google takes no login that is hours old, or of the future; nothing is harmed by it."""
    placed = put(place, made)
    place.peer.skew = timedelta(hours=2)
    with pytest.raises(Denied) as told:
        place.reopened().verify(placed, NOW)
    assert "clock is 120 minutes behind Google's" in told.value.why
    place.peer.skew = timedelta()
    assert place.reopened().verify(placed, NOW) == placed


def test_no_credentials_at_all_are_missing_ones(tmp_path: Path) -> None:
    with at_google(tmp_path, credentials=Ambient.ANONYMOUS) as place:
        place.peer.accounts.anonymous = ()
        with pytest.raises(Denied) as told:
            place.location.probe()
        assert told.value.denial is Denial.MISSING
    nowhere = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "none"), "HOME": str(tmp_path)}
    with (
        mock.patch.dict(os.environ, nowhere),
        at_google(tmp_path, credentials=Ambient.ADC) as place,
        pytest.raises(Denied) as told,
    ):
        place.location.probe()
    assert told.value.denial is Denial.MISSING


def test_a_broken_key_is_never_shown(place: OnGoogle) -> None:
    secret = json.loads(place.key.read_text())["private_key"].splitlines()[5]
    for text in (
        place.key.read_text()[:-40],
        "[]",
        "{}",
        place.key.read_text().replace(secret, ""),
    ):
        place.key.write_text(text)
        with pytest.raises(Denied) as told:
            place.reopened().probe()
        assert told.value.denial is Denial.WRONG
        assert secret not in repr(told.value) + told.value.why + told.value.hint


def test_nothing_secret_is_logged(
    place: OnGoogle, made: tuple[Artifact, Path], caplog: pytest.LogCaptureFixture
) -> None:
    secret = json.loads(place.key.read_text())["private_key"].splitlines()[5]
    with caplog.at_level(logging.DEBUG, logger="imagectl"):
        put(place, made)
    assert secret not in caplog.text
    assert "ya29." not in caplog.text
    assert repr(place.location.probe()).count("ya29.") == 0


def test_what_is_lacking_is_named(place: OnGoogle) -> None:
    with (
        place.peer.accounts.only("compute.*", "storage.objects.get", "storage.objects.create"),
        pytest.raises(Denied) as told,
    ):
        place.location.probe()
    assert (
        told.value.why
        == "it lacks storage.objects.delete, storage.objects.list, storage.objects.update"
    )


def test_the_service_that_is_asked_for_permissions_may_be_switched_off(place: OnGoogle) -> None:
    """Its hint switches on all that the how-to does."""
    off = Refuse(403, "accessNotConfigured", "Cloud Resource Manager API has not been used")
    asked = "cloudresourcemanager.projects.testIamPermissions"
    with place.peer.during(off, asked), pytest.raises(Failed, match="switched off") as told:
        place.location.probe()
    how_to = Path(__file__).parents[2].joinpath("docs/how-to/gce.md").read_text()
    (command,) = re.findall(r"gcloud services enable ([^-]+) --project", how_to)
    for service in command.replace("\\", "").split():
        assert service in told.value.hint


def test_what_the_how_to_lists_is_enough(tmp_path: Path) -> None:
    """Its permissions are those that are asked for, and with no others everything works."""
    with at_google(
        tmp_path, share=("user:a@acme.example",), family_channel=STABLE, zone=None
    ) as place:
        enough = IN_PROJECT | TO_SHARE | ON_BUCKET
        with place.peer.accounts.only(*enough):
            place.location.probe()
            placed = put(place, place.artifact(tmp_path))
            place.location.verify(placed, NOW)
            place.location.point(CI, {STABLE: placed})
            place.location.mark(placed, Mark.OBSOLETE)
            assert place.location.view(lambda: NOW).complete
            place.location.delete(placed, at_once)
