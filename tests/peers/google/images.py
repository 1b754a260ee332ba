"""Images: made of archives, disks and other images; labelled, deprecated, put in families."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, field
from typing import Any

from peers.google.archives import GIB, Unusable, bucket_and_object, disk_size
from peers.google.calls import (
    Call,
    Trouble,
    invalid,
    missing,
    not_modelled,
)
from peers.google.discovery import Json, api
from peers.google.inventory import RESOURCE_NAME, check_labels, fingerprint, scope
from peers.google.operations import Failed, Operations
from peers.google.storage import Storage


@dataclass
class Images(Operations):
    """The images of all projects."""

    storage: Storage = field(kw_only=True)

    def add_image(self, project: str, name: str, **facts: Any) -> Json:
        """Somebody has made an image. ``facts``: fields of the resource."""
        path = f"projects/{project}/global/images/{name}"
        image = self._make(
            path,
            "compute#image",
            {
                "sourceType": "RAW",
                "status": "READY",
                "archiveSizeBytes": "1000",
                "diskSizeGb": "1",
                "storageLocations": ["eu"],
                "architecture": "X86_64",
                **facts,
            },
        )
        image["labelFingerprint"] = fingerprint(facts.get("labels", {}))
        return image

    def image(self, project: str, name: str) -> Json | None:
        """As it is now; None where there is none."""
        return copy.deepcopy(self.resources.get(f"projects/{project}/global/images/{name}"))

    def _image_insert(self, call: Call) -> Json:
        facts = api("compute").without_read_only("Image", call.body)
        name = facts["name"]
        path = f"{scope(call)}/images/{name}"
        if again := self._again(call):
            return again
        self._free(path)
        check_labels(facts.get("labels", {}))
        sources = [key for key in ("sourceDisk", "sourceImage", "sourceSnapshot") if facts.get(key)]
        if facts.get("rawDisk", {}).get("source"):
            sources.append("rawDisk")
        if len(sources) != 1:
            raise invalid(
                "Invalid value for field 'resource': exactly one of rawDisk.source, sourceDisk, "
                f"sourceImage and sourceSnapshot is needed, not {sources or 'none'}."
            )
        labels = facts.get("labels")
        made = {
            **facts,
            "sourceType": "RAW",
            "status": "PENDING",
            "labelFingerprint": fingerprint(labels or {}),
            "storageLocations": facts.get("storageLocations") or ["eu"],
        }
        archive: tuple[str, str] | None = None
        match sources[0]:
            case "rawDisk":
                archive = bucket_and_object(facts["rawDisk"].pop("source"))
                if archive not in self.storage.objects:
                    raise Trouble(
                        404,
                        "notFound",
                        "The resource 'https://storage.googleapis.com/"
                        f"{'/'.join(archive)}' was not found",
                    )
                made["rawDisk"] = {"source": "", "containerType": "TAR"}
            case "sourceDisk":
                disk = self._linked(call, facts["sourceDisk"])
                users = [user for user in disk.get("users", []) if self._running(user)]
                if users and call.query.get("forceCreate", "false") != "true":
                    raise Trouble(
                        400,
                        "resourceInUseByAnotherResource",
                        f"The disk resource is already being used by '{users[0]}'",
                    )
                made |= {"sourceDisk": disk["selfLink"], "sourceDiskId": disk["id"]}
                made |= {"diskSizeGb": disk["sizeGb"], "archiveSizeBytes": "1000"}
            case "sourceImage":
                image = self._linked(call, facts["sourceImage"])
                made |= {"sourceImage": image["selfLink"], "sourceImageId": image["id"]}
                made |= {key: image[key] for key in ("diskSizeGb", "archiveSizeBytes")}
            case other:
                raise not_modelled(f"images made of {other}")
        image = self._make(path, "compute#image", made)

        def ready() -> None:
            if archive is not None:
                try:
                    image.update(self._unpacked(*archive))
                except Failed:
                    self.resources.pop(path, None)
                    raise
            image["status"] = "READY"

        return self._begin(call, "insert", path, ready)

    def _unpacked(self, bucket: str, name: str) -> Json:
        """Reads the archive that an image is made of, all of it."""
        stored = self.storage.objects.get((bucket, name))
        if stored is None:
            raise Failed("RESOURCE_NOT_FOUND", f"The object {bucket}/{name} is gone.", 404)
        try:
            size = disk_size(stored.file, str(stored.facts["crc32c"]))
        except Unusable as error:
            raise Failed("INVALID_USAGE", str(error)) from None
        return {
            "archiveSizeBytes": stored.facts["size"],
            "diskSizeGb": str(size // GIB),
            "_archive": hashlib.sha256(stored.file.read_bytes()).hexdigest(),
        }

    def _running(self, link: str) -> bool:
        return bool(self.resources.get(link[2:], {}).get("status") == "RUNNING")

    def _image_deprecate(self, call: Call) -> Json:
        path, image = self._existing(call, "images", "image")
        body = {key: each for key, each in call.body.items() if key != "kind"}
        if again := self._again(call):
            return again

        def deprecate() -> None:
            if body.get("state", "ACTIVE") == "ACTIVE":
                image.pop("deprecated", None)
            else:
                image["deprecated"] = body

        return self._begin(call, "deprecate", path, deprecate)

    def _image_patch(self, call: Call) -> Json:
        path, image = self._existing(call, "images", "image")
        if again := self._again(call):
            return again
        changes = {
            key: each for key, each in call.body.items() if key not in ("name", "id", "kind")
        }
        if other := sorted(set(changes) - {"family", "description", "deprecated"}):
            raise invalid(f"Invalid value for field 'resource.{other[0]}': it cannot be patched.")
        family = changes.get("family")
        if family and not RESOURCE_NAME.fullmatch(family):
            raise invalid(f"Invalid value for field 'resource.family': '{family}'.")

        def patch() -> None:
            for key, each in changes.items():
                if each in (None, ""):
                    image.pop(key, None)
                else:
                    image[key] = each

        return self._begin(call, "patch", path, patch)

    def _image_from_family(self, call: Call) -> Json:
        """The newest of those in the family that are not deprecated."""
        family = call.path["family"]
        where = f"{scope(call)}/images"
        found = [
            each
            for _, each in self._seen(call, where)
            if each.get("family") == family
            and "deprecated" not in each
            and each["status"] == "READY"
        ]
        if not found:
            raise missing(f"{where}/family/{family}")
        return self._answer(call, max(found, key=lambda each: str(each["creationTimestamp"])))
