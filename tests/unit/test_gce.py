"""How images of Compute Engine are named and labelled, what is read of a disk, and what Google's
errors mean. No network."""

from __future__ import annotations

import gzip
import re
import struct
import uuid
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests
from hypothesis import given
from support import strategies
from support.examples import digest, ref
from support.places import CATALOG_ID

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.disk.gce import encode
from imagectl.adapters.locations.gce_disk import features
from imagectl.adapters.locations.gce_labels import from_labels, image_name, to_labels
from imagectl.adapters.locations.gce_permissions import IN_PROJECT, ON_BUCKET, TO_BOOT, TO_SHARE
from imagectl.adapters.locations.google_account import again, meaning, passing, read_answer
from imagectl.errors import (
    CannotTell,
    Conflict,
    Corrupt,
    Denial,
    Denied,
    Failed,
    ImagectlError,
    NoSpace,
)
from imagectl.model.names import Architecture, Format, ImageName, LocationName, VersionId
from imagectl.model.version import VersionRef
from imagectl.model.view import Ownership

NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?\Z")
LABEL = re.compile(r"[a-z0-9_-]{0,63}\Z")
HERE = LocationName("gce-prod")
GIB = 1 << 30


def owner(version: VersionRef) -> Ownership:
    return Ownership(CATALOG_ID, version, Format.GCE, Architecture.ARM64, digest("a"))


def test_a_name_has_the_version_and_the_architecture() -> None:
    name = image_name(ref("debian-ci@20261120.12"), Architecture.ARM64)
    assert name == "debian-ci-20261120-12-arm64"


def test_the_longest_name_fits() -> None:
    version = VersionRef(ImageName("a" * 40), VersionId("20261120", 999999))
    assert NAME.match(image_name(version, Architecture.AMD64))


@given(strategies.version_refs)
def test_labels_come_back_as_they_were(version: VersionRef) -> None:
    labels = to_labels(owner(version))
    assert all(LABEL.match(each) for each in labels.values())
    assert from_labels(labels) == owner(version)
    assert from_labels({**labels, "team": "a"}) == owner(version)


@pytest.mark.parametrize("label", sorted(to_labels(owner(ref("debian-ci@20261120.1")))))
def test_a_label_that_is_missing_or_nonsense_makes_it_nobodys(label: str) -> None:
    """P2: in doubt it is not ours."""
    labels = to_labels(owner(ref("debian-ci@20261120.1")))
    assert from_labels({key: each for key, each in labels.items() if key != label}) is None
    if label != "imagectl-catalog":
        assert from_labels({**labels, label: "-"}) is None


def archive(folder: Path, start: bytes) -> Path:
    disk = folder / "disk.raw"
    with disk.open("wb") as out:
        out.write(start)
        out.truncate(GIB)
    with disk.open("rb") as raw:
        data = b"".join(encode(raw.fileno(), GIB))
    path = folder / "disk.tar.gz"
    path.write_bytes(gzip.compress(data, 1))
    return path


def table(*types: str) -> bytes:
    """The start of a disk with a GPT of those partition types."""
    header = struct.pack("<8s72xII", b"EFI PART", 128, 128).ljust(512, b"\0")
    entries = b"".join(uuid.UUID(each).bytes_le.ljust(128, b"\1") for each in types)
    return b"\0" * 512 + header + entries.ljust(128 * 128, b"\0")


LINUX, ESP = "0fc63daf-8483-4772-8e79-3d69d8477de4", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"


@pytest.mark.parametrize(
    ("start", "by_uefi"),
    [
        (table(LINUX, ESP), True),
        (table(LINUX), False),
        (b"\0" * 446 + b"a partition table of old", False),
        (b"", False),
    ],
)
def test_a_disk_starts_by_uefi_where_it_has_a_partition_for_it(
    tmp_path: Path, start: bytes, by_uefi: bool
) -> None:
    assert ("UEFI_COMPATIBLE" in features(archive(tmp_path, start))) is by_uefi


@pytest.mark.parametrize("cut", [0, 10, 200])
def test_an_archive_that_is_cut_off_is_corrupt(tmp_path: Path, cut: int) -> None:
    path = archive(tmp_path, table(LINUX))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(Corrupt, match="is not a disk for Compute Engine"):
        features(path)


def said(reason: str, message: str = "no") -> str:
    return f'{{"error": {{"message": "{message}", "errors": [{{"reason": "{reason}"}}]}}}}'


@pytest.mark.parametrize(
    ("status", "reason", "throttled"),
    [
        (429, "", True),
        (403, "rateLimitExceeded", True),
        (403, "userRateLimitExceeded", True),
        (503, "backendError", False),
        (500, "internalError", False),
        (408, "", False),
    ],
)
def test_what_passes_is_tried_again(status: int, reason: str, throttled: bool) -> None:
    found = passing(read_answer(status, said(reason), {}))
    assert found is not None
    assert found.throttled is throttled


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (400, "invalid", Failed),
        (403, "forbidden", Denied),
        (403, "quotaExceeded", NoSpace),
        (403, "accessNotConfigured", Failed),
        (404, "notFound", CannotTell),
        (409, "alreadyExists", Conflict),
        (412, "conditionNotMet", Conflict),
        (501, "notImplemented", CannotTell),
    ],
)
def test_what_stays_is_an_error_of_its_kind(
    status: int, reason: str, kind: type[ImagectlError]
) -> None:
    answer = read_answer(status, said(reason, "because"), {})
    assert passing(answer) is None
    error = meaning(answer, "doing it", HERE, "ci@acme.example")
    assert type(error) is kind
    assert "because" in error.why
    assert "gce-prod" in error.where


@pytest.mark.parametrize(
    ("message", "account", "denial"),
    [
        ("Login Required.", "ci@acme.example", Denial.MISSING),
        ("Invalid Credentials", "anonymous", Denial.MISSING),
        ("Invalid Credentials", "ci@acme.example", Denial.WRONG),
        ("The token has expired", "ci@acme.example", Denial.EXPIRED),
    ],
)
def test_three_kinds_of_401_are_told_apart(message: str, account: str, denial: Denial) -> None:
    error = meaning(read_answer(401, said("authError", message), {}), "doing it", HERE, account)
    assert isinstance(error, Denied)
    assert error.denial is denial


def test_how_long_to_wait_is_a_number_or_a_date() -> None:
    now = SystemClock().now()
    date = format_datetime((now + timedelta(seconds=30)).astimezone(UTC), usegmt=True)
    after = read_answer(503, "", {"retry-after": date}).after
    assert after is not None
    assert 25 < after <= 30
    assert read_answer(503, "", {"Retry-After": "7"}).after == 7
    assert read_answer(503, "", {"Retry-After": "soon"}).after is None
    past = format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)
    assert read_answer(503, "", {"Retry-After": past}).after == 0


@pytest.mark.parametrize("body", ["", "<html>Bad Gateway</html>", "[]", '{"error": "x"}', "null"])
def test_answers_that_are_not_googles_are_read_too(body: str) -> None:
    answer = read_answer(502, body, {})
    assert answer.reasons == frozenset()
    assert answer.message
    assert passing(answer) is not None


def test_a_broken_connection_is_told_without_its_url() -> None:
    """The address of an upload is a key."""
    url = "https://storage.example/upload?upload_id=SECRET"
    error = requests.exceptions.ConnectionError(f"HTTPConnectionPool: {url}")
    error.__context__ = OSError("Connection reset by peer")
    found = again(error)
    assert found is not None
    assert "SECRET" not in found.why
    assert again(ValueError(url)) is None


def test_each_permission_that_is_asked_for_is_explained() -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/gce.md").read_text()
    asked = IN_PROJECT | TO_SHARE | TO_BOOT | ON_BUCKET
    rows = set(re.findall(r"`([a-z]+[.][A-Za-z]+[.][A-Za-z]+)`", page))
    assert {each for each in rows if each.startswith(("compute.", "storage."))} == asked
    command = page.partition("--permissions")[2].partition("```")[0]
    assert set(re.findall(r"compute[.][A-Za-z]+[.][A-Za-z]+", command)) == IN_PROJECT
