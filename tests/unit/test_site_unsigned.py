"""What the site says of changes that people have to sign first: consumers do not see them yet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support.examples import NOW
from support.gallery import gallery

from imagectl.bootstrap.site import site_sources
from imagectl.site.looking import Looking
from imagectl.site.pages import files
from imagectl.site.sources import Page, Sources, Tree
from imagectl.site.status import Check, State, judge

STABLE = "images/debian-ci/channels/stable.html"
BETA = "images/debian-ci/channels/beta.html"
NOTE = b"Waits for signatures:"


def shown(sources: Sources) -> Check:
    checks = [each for area in judge(sources, Looking(sources)).areas for each in area.checks]
    return next(each for each in checks if each.what == "published catalog public")


def test_what_nobody_has_signed_is_not_shown_as_what_consumers_see(tmp_path: Path) -> None:
    project = gallery(tmp_path / "project")
    pending = project.signing.pending
    pending.mkdir(parents=True)
    before = site_sources(project, "VM images", "")
    (pending / "channel-stable.json").write_text("{}")
    after = site_sources(project, "VM images", "")
    tree = Tree("public", after.snapshot.generation)

    assert shown(replace(before, trees=[tree])).state is State.OK
    check = shown(replace(after, trees=[tree]))
    assert check.state is State.WARNING
    assert "but for what waits for signatures: channel-stable" in check.said
    behind = Tree("public", after.snapshot.generation - 1)
    assert shown(replace(after, trees=[behind])).state is State.ALARM

    pages = {each.path: each.content for each in files(after) if isinstance(each, Page)}
    assert NOTE in pages[STABLE]
    assert NOTE not in pages[BETA]
    assert all(NOTE not in each.content for each in files(before) if isinstance(each, Page))
    assert before.now == NOW
    project.close()
