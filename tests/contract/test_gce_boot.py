"""Images boot in throw-away instances of Compute Engine, which go whatever happens."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from peers.google.calls import Refuse
from peers.sshd import ssh_server
from support.gce_images import at_google, put
from support.places.gce import PROJECT, OnGoogle
from support.systems import workspace

from imagectl.adapters import process
from imagectl.adapters.locations.gce_boot import Login
from imagectl.errors import (
    Corrupt,
    GuestUnreachable,
    Unsupported,
)
from imagectl.model.version import Artifact
from imagectl.testing.build import RecordingProgress


@pytest.fixture
def place(tmp_path: Path) -> Iterator[OnGoogle]:
    with at_google(tmp_path) as opened:
        yield opened


@pytest.fixture
def made(place: OnGoogle, tmp_path: Path) -> tuple[Artifact, Path]:
    return place.artifact(tmp_path)


def instances(place: OnGoogle) -> list[str]:
    return place.peer.compute.names(f"projects/{PROJECT}/zones/{place.settings.zone}/instances")


def test_an_image_boots_in_an_instance_that_is_gone_afterwards(
    place: OnGoogle, made: tuple[Artifact, Path], tmp_path: Path
) -> None:
    placed = put(place, made)
    with ssh_server() as sshd:
        started: list[dict[str, object]] = []

        def let_in(instance: dict[str, object]) -> None:
            started.append(instance)
            items = instance["metadata"]["items"]  # type: ignore[index]  # its JSON
            keys = next(each["value"] for each in items if each["key"] == "ssh-keys")
            sshd.authorize(keys.partition(":")[2])

        place.peer.compute.started.append(let_in)
        place.location.login = Login(port=sshd.port)
        with place.location.boot(placed, workspace(tmp_path), RecordingProgress()) as machine:
            assert machine.user == "imagectl"
            assert len(instances(place)) == 1
            said = process.run(
                [
                    "ssh",
                    *("-i", str(machine.key), "-p", str(machine.port)),
                    *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
                    *("-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"),
                    f"{machine.user}@{machine.host}",
                    "echo booted",
                ],
                what="logging in",
            )
            assert said.output.strip() == "booted"
    assert instances(place) == []
    (instance,) = started
    scheduling = instance["scheduling"]
    assert scheduling["maxRunDuration"]["seconds"] == "3600"  # type: ignore[index]  # its JSON
    assert scheduling["instanceTerminationAction"] == "DELETE"  # type: ignore[index]  # its JSON


def test_an_instance_that_does_not_answer_is_told_with_its_console_and_removed(
    place: OnGoogle, made: tuple[Artifact, Path], tmp_path: Path
) -> None:
    placed = put(place, made)
    place.peer.compute.started.append(
        lambda instance: place.peer.compute.serial.update(
            {str(instance["name"]): "GRUB\r\nKernel panic - not syncing\r\n"}
        )
    )
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        place.location.login = Login(port=nobody.getsockname()[1], seconds=0.5)
        with (
            pytest.raises(GuestUnreachable) as told,
            place.location.boot(placed, workspace(tmp_path), RecordingProgress()),
        ):
            pytest.fail("it has not booted")
    assert told.value.tail.endswith("Kernel panic - not syncing")
    assert instances(place) == []


def test_an_instance_is_removed_whatever_happens_in_the_block(
    place: OnGoogle, made: tuple[Artifact, Path], tmp_path: Path
) -> None:
    placed = put(place, made)
    with ssh_server() as sshd:
        place.location.login = Login(port=sshd.port)
        with (
            pytest.raises(KeyboardInterrupt),
            place.location.boot(placed, workspace(tmp_path), RecordingProgress()),
        ):
            raise KeyboardInterrupt
    assert instances(place) == []


def test_an_instance_that_cannot_be_removed_is_told(
    place: OnGoogle, made: tuple[Artifact, Path], tmp_path: Path
) -> None:
    placed = put(place, made)
    told = RecordingProgress()
    denied = Refuse(403, "forbidden", "Required 'compute.instances.delete' permission")
    with ssh_server() as sshd, place.peer.during(denied, "compute.instances.delete"):
        place.location.login = Login(port=sshd.port)
        with place.location.boot(placed, workspace(tmp_path), told):
            pass
    assert "deletes it by itself within 60 minutes" in told.notes[0]
    assert instances(place)[0] in told.notes[0]


def test_what_is_corrupt_or_has_no_zone_is_not_booted(
    place: OnGoogle, made: tuple[Artifact, Path], tmp_path: Path
) -> None:
    placed = put(place, made)
    work = workspace(tmp_path)
    place.settings = replace(place.settings, zone=None)
    with (
        pytest.raises(Unsupported, match="boots nothing"),
        place.reopened().boot(placed, work, RecordingProgress()),
    ):
        pass
    place.damage(placed)
    with pytest.raises(Corrupt), place.location.boot(placed, work, RecordingProgress()):
        pass
    assert place.peer.count("compute.instances.insert") == 0
