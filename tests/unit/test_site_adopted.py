"""What the site says of versions that imagectl has not made, and of how to get one at all."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from support.examples import digest, placement, ref, version
from support.gallery import Gallery
from support.projects import store_text

from imagectl.bootstrap.site import site_sources
from imagectl.model.change import RecordPlacement, RecordVersion, RevokeVersion
from imagectl.model.version import TestSummary
from imagectl.site.pages import files
from imagectl.site.sources import Page

ADOPTED = "legacy-web@20170301.1"


def words(page: bytes) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.decode()).split())


def test_nothing_is_claimed_of_an_adopted_version(tmp_path: Path) -> None:
    made = Gallery(tmp_path / "project")
    report = store_text(made.project, '{"v": 1, "results": []}')
    adopted = replace(
        version(ADOPTED),
        tree=None,
        tests=TestSummary(0, 0, 0.0, report, digest("console")),
        seconds=0.0,
        summary="adopted from gce-prod: legacy-web-20170301",
    )
    made.commit("made by hand", RecordVersion(adopted), RecordPlacement(placement(ADOPTED)))
    made.built("debian-ci@20261001.1")
    made.built("debian-ci@20261002.1")
    made.promoted("debian-ci@20261001.1", "first release")
    pages = pages_of(made)
    page = words(pages["images/legacy-web/versions/20170301.1.html"])
    assert "not by imagectl" in page
    assert "Adopted by" in page
    assert "no channel can point to it" in page
    assert "Tests none" in page
    assert "imagectl has not built it" in page
    assert "it was adopted, and imagectl has not looked into it" in page
    for claim in ("Built 20", "0 passed", "0 tests", "before locks existed", "did not look into"):
        assert claim not in page
    image = words(pages["images/legacy-web/index.html"])
    assert "To get one" not in image
    assert "Compare any two" not in image
    assert "To get it" not in words(pages["images/legacy-web/channels/stable.html"])
    built = words(pages["images/debian-ci/index.html"])
    assert "To get one: imagectl resolve debian-ci:stable" in built
    assert "Compare any two" in built
    made.commit("it leaks keys", RevokeVersion(ref("debian-ci@20261001.1")))
    revoked = pages_of(made)
    assert "resolve debian-ci:beta" in words(revoked["images/debian-ci/index.html"])
    assert "To get it" not in words(revoked["images/debian-ci/channels/stable.html"])
    made.project.close()


def pages_of(made: Gallery) -> dict[str, bytes]:
    sources = site_sources(made.project, "VM images", "")
    return {each.path: each.content for each in files(sources) if isinstance(each, Page)}
