"""Projects that adopt what others have made, run on the command line as people do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import Result
from peers.google.peer import Google, google

from imagectl.adapters.locations import gce
from imagectl.bootstrap.project import open_project
from imagectl.cli.adopt import AdoptedDocument
from imagectl.cli.documents import schema
from imagectl.model.snapshot import Snapshot
from support.cli import Run, command_line
from support.places.gce import BUCKET, PROJECT
from support.projects import new_project

IMAGES = f"projects/{PROJECT}/global/images"
DAY_ONE, DAY_TWO = "2017-03-01T10:00:00.000-08:00", "2017-03-02T00:30:00.000+01:00"


@dataclass
class Adopter:
    """A project, and its command line."""

    root: Path
    imagectl: Run

    def run(self, *arguments: str) -> Result:
        return self.imagectl("-C", str(self.root), *arguments)

    def adopt(self, location: str, *arguments: str, status: int = 0) -> Any:
        """What ``adopt --json`` answers."""
        result = self.run("adopt", location, *arguments, "--json")
        assert result.exit_code == status, result.output
        said = json.loads(result.stdout)
        jsonschema.validate(said, schema(AdoptedDocument))
        return said

    def snapshot(self) -> Snapshot:
        project = open_project(self.root)
        try:
            assert project.catalog.verify() == ()
            return project.catalog.snapshot()
        finally:
            project.close()


@dataclass
class GoogleAdopter(Adopter):
    """A project with a folder and a project of Compute Engine as its locations."""

    cloud: Google

    def made(self, *names: str, at: str = DAY_ONE, **facts: object) -> None:
        for name in names:
            self.cloud.compute.add_image(PROJECT, name, creationTimestamp=at, **facts)

    def labels(self, name: str) -> dict[str, str]:
        found: dict[str, str] = self.cloud.compute.resources[f"{IMAGES}/{name}"].get("labels", {})
        return found


@contextmanager
def google_adopter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleAdopter]:
    """One in *folder*, with a cloud of its own, named ``gce-prod``; the folder is ``local``."""
    root = folder / "project"
    new_project(root).close()
    monkeypatch.setattr(gce, "PER_SECOND", 1e6)
    with google((PROJECT,), (BUCKET,)) as cloud:
        key = cloud.accounts.add(folder)
        (root / "imagectl.yaml").write_text(
            "locations:\n"
            "  local: {type: directory, path: .imagectl/locations/local}\n"
            f"  gce-prod: {{type: gce, project: {PROJECT}, bucket: {BUCKET}, "
            f"endpoint: '{cloud.url}', storage_endpoint: '{cloud.url}', "
            f"credentials: {{file: {key}}}}}\n"
        )
        yield GoogleAdopter(root, command_line(monkeypatch), cloud)


def versions(said: Any) -> dict[str, str]:
    """The versions that were adopted, by their names at the location."""
    return {each["name"]: each["version"] for each in said["adopted"]}
