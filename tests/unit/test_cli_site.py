"""``imagectl site build`` on a real project."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest
from support.cli import Run
from support.examples import ref
from support.gallery import gallery

from imagectl.cli.documents import schema
from imagectl.cli.site import Site


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's folder, which is the current one."""
    project = gallery(tmp_path / "project")
    project.close()
    monkeypatch.chdir(project.root)
    return project.root


def test_a_site_is_written_and_written_again(root: Path, imagectl: Run) -> None:
    result = imagectl("site", "build", "--json", "--title", "Our <images>")
    answer = json.loads(result.stdout)
    jsonschema.validate(answer, schema(Site))
    assert answer["folder"] == str(root / ".imagectl/site")
    assert answer["files"] == answer["changed"] > 50
    assert answer["generation"] == 16
    assert "Our &lt;images&gt;" in (root / ".imagectl/site/index.html").read_text()
    assert "python3 -m http.server -d" in result.stderr
    again = imagectl("site", "build", "--title", "Our <images>")
    assert again.exit_code == 0
    # The page of the status says of when it is, to the minute.
    assert any(f"{n} of them changed" in again.stdout for n in (0, 1))


def test_whole_addresses(root: Path, imagectl: Run) -> None:
    out = root / "out"
    assert (
        imagectl("site", "build", "--out", "out", "--base-url", "https://x.example").exit_code == 0
    )
    assert json.loads((out / "feed.json").read_text())["feed_url"] == "https://x.example/feed.json"


@pytest.mark.parametrize(
    "url", ["x.example", "ftp://x.example", "https://", "https://x/?a", "https://x/#b", "http://[x"]
)
def test_addresses_that_are_none(root: Path, imagectl: Run, url: str) -> None:
    result = imagectl("site", "build", "--base-url", url)
    assert result.exit_code == 2
    assert not (root / ".imagectl/site").exists()


def test_another_folder_is_left_alone(root: Path, imagectl: Run) -> None:
    result = imagectl("site", "build", "--out", ".")
    assert result.exit_code == 2
    assert "something else than a site" in result.stderr
    assert (root / "imagectl.yaml").exists()


def test_a_damaged_document_leaves_the_old_site(root: Path, imagectl: Run) -> None:
    imagectl("site", "build")
    before = (root / ".imagectl/site/status.html").stat()
    from imagectl.bootstrap.project import Project

    project = Project(root)
    inside = project.catalog.snapshot().versions[ref("debian-ci@20261029.1")].inside
    assert inside is not None
    path = project.store.path(inside.spdx)
    project.close()
    (root / ".imagectl/site/documents" / inside.spdx[:2] / f"{inside.spdx}.spdx.json").unlink()
    os.chmod(path, 0o644)
    path.write_text("something else")
    result = imagectl("site", "build")
    assert result.exit_code == 1
    assert inside.spdx in result.stderr
    assert (root / ".imagectl/site/status.html").stat().st_mtime_ns == before.st_mtime_ns


def test_until_when_signatures_hold_is_read_from_what_is_published(
    root: Path, imagectl: Run
) -> None:
    """P8: where it cannot be read, that is what the page says."""
    page = root / ".imagectl/site/status.html"
    assert imagectl("catalog", "publish").exit_code == 0
    imagectl("site", "build")
    assert "signatures of catalog/public" in page.read_text()
    assert ">hold until " in page.read_text()
    for snapshot in (root / "catalog/public/metadata").glob("*.snapshot.json"):
        snapshot.unlink()
    assert imagectl("site", "build").exit_code == 0
    assert ">hold until " not in page.read_text()
    assert "snapshot.json is missing" in page.read_text()
