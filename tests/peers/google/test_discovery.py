"""Google's own description judges requests and answers, those of the real one too."""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib.resources import files
from typing import Any

import pytest

from peers.google.clients import (
    IMAGES,
    PROJECT,
    ask,
)
from peers.google.discovery import api, select
from peers.google.peer import Google, google


def test_libcloud_s_recordings_of_the_real_one_pass_the_checks() -> None:
    """All that is found in 289 answers is what libcloud's authors have written by hand, and fields
    that Google has taken away since."""
    compute = api("compute")
    checked, found = 0, Counter[str]()
    recordings = files("libcloud") / "test" / "compute" / "fixtures" / "gce"
    for file in recordings.iterdir():
        if file.name.endswith(".json"):
            answer = json.loads(file.read_text(encoding="utf-8"))
            kind = answer.get("kind", "#").split("#")[1]
            if kind:
                checked += 1
                found.update(compute.check(kind[0].upper() + kind[1:], answer))
    assert checked == 289
    known = (
        r'Unknown name "scratchDisks" at "MachineType.*',
        r'Unknown name "maintenanceWindows" at "ZoneList.*',
        r'Unknown name "status" at "Subnetwork".*',
        r'Unknown name "get(ResourceId|DisplayName|ResourceType|FullResourcePath)" at "ImageList.*',
        r"Operation.id: 123456 is no string",
        r"Invalid value at 'Operation.id': '(3{20}|4{20})' is no uint64",
        r"Invalid value for field '\w+.name': '\w*my[-\w]*(_shared_network)'.*",
        r"Invalid value for field '\w+.name': '(shared_(sub)?network_for_mig|subnet_1)'.*",
    )
    unknown = [each for each in found if not any(re.fullmatch(one, each) for one in known)]
    assert unknown == []
    assert len(found) > 20


@pytest.mark.parametrize(
    ("schema", "value", "wrong"),
    [
        ("Image", {"nmae": "x"}, 'Unknown name "nmae"'),
        ("Image", {"name": "Upper"}, "Must be a match of regex"),
        ("Image", {"diskSizeGb": 10}, "is no string"),
        ("Image", {"diskSizeGb": "ten"}, "is no int64"),
        ("Image", {"status": "GOOD"}, "is none of"),
        ("Image", {"labels": {"a": 1}}, "is no string"),
        ("Image", {"labels": ["a"]}, "is no object"),
        ("Image", {"licenses": "x"}, "is no list"),
        ("Image", {"guestOsFeatures": [{"type": "UEFI"}]}, "is none of"),
        ("Operation", {"progress": True}, "is no integer"),
        ("Operation", {"progress": 2**31}, "is no int32"),
        ("Instance", {"canIpForward": "yes"}, "is no boolean"),
    ],
)
def test_what_the_document_does_not_allow_is_found(
    schema: str, value: dict[str, Any], wrong: str
) -> None:
    (problem,) = api("compute").check(schema, value)
    assert wrong in problem


def test_parts_of_an_answer_are_selected_as_asked() -> None:
    answer = {"kind": "k", "items": [{"id": "1", "name": "a", "x": {"y": 1, "z": 2}}], "next": "t"}
    assert select("items(name,x/y),next", answer) == {
        "items": [{"name": "a", "x": {"y": 1}}],
        "next": "t",
    }
    assert select("items/id", answer) == {"items": [{"id": "1"}]}
    assert select("*", answer) == answer


@pytest.mark.parametrize(
    ("verb", "path", "body", "status", "said"),
    [
        ("POST", "global/images", {"nmae": "a"}, 400, "nmae"),
        ("POST", "global/images", {"rawDisk": {"source": "gs://a/b"}}, 400, "'resource.name' not"),
        ("POST", "global/images", {"name": "a"}, 400, "exactly one of"),
        ("POST", "global/images?requestId=1", {"name": "a"}, 400, "no UUID"),
        ("GET", "global/images?maxresults=1", None, 400, "maxresults"),
        ("GET", "global/images?maxResults=501", None, 400, "[0, 500]"),
        ("GET", "global/images?maxResults=many", None, 400, "no uint32"),
        ("GET", "global/images?pageToken=%21", None, 400, "pageToken"),
        ("GET", "global/images/Upper", None, 400, "Must be a match"),
        ("GET", "global/images/none", None, 404, "was not found"),
        ("GET", "zones/nowhere-a", None, 404, "was not found"),
        ("GET", "nonsense", None, 404, "Not Found"),
        ("GET", "global/snapshots", None, 501, "compute.snapshots.list"),
        ("GET", "global/images?filter=size%3C3", None, 501, "filter"),
    ],
)
def test_what_is_wrong_is_refused_and_what_is_not_modelled_is_not_guessed(
    peer: Google, verb: str, path: str, body: Any, status: int, said: str
) -> None:
    got, answer = ask(peer, verb, f"/compute/v1/projects/{PROJECT}/{path}", body)
    assert got == status
    assert said in answer["error"]["message"]
    assert answer["error"]["code"] == status


def test_an_answer_that_google_would_not_give_is_a_fault_of_the_peer() -> None:
    with pytest.raises(AssertionError, match="archiveSizeBytes"):  # noqa: SIM117, PT012
        with google((PROJECT,), ()) as peer:
            peer.compute.add_image(PROJECT, "a", archiveSizeBytes=7)
            assert ask(peer, "GET", f"/compute/v1/{IMAGES}/a")[0] == 500
