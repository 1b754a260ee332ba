"""What an account must be allowed in a project and its bucket; docs/how-to/gce.md explains each."""

from __future__ import annotations

from imagectl.adapters.locations.gce_project import Project
from imagectl.adapters.locations.gce_upload import Uploads
from imagectl.errors import Denial, Denied
from imagectl.model.place import GceLocation as Settings

IN_PROJECT = frozenset(
    f"compute.{each}"
    for each in (
        "globalOperations.get",
        "addresses.list",
        "disks.list",
        "images.create",
        "images.delete",
        "images.deprecate",
        "images.get",
        "images.list",
        "images.setLabels",
        "images.update",
        "instances.list",
    )
)
TO_SHARE = frozenset({"compute.images.getIamPolicy", "compute.images.setIamPolicy"})
TO_BOOT = frozenset(
    f"compute.{each}"
    for each in (
        "addresses.delete",
        "disks.create",
        "disks.delete",
        "disks.get",
        "disks.setLabels",
        "images.useReadOnly",
        "instances.create",
        "instances.delete",
        "instances.get",
        "instances.getSerialPortOutput",
        "instances.setLabels",
        "instances.setMetadata",
        "regionOperations.get",
        "subnetworks.use",
        "subnetworks.useExternalIp",
        "zoneOperations.get",
    )
)
ON_BUCKET = frozenset(
    f"storage.objects.{each}" for each in ("create", "delete", "get", "list", "update")
)


def require_permissions(settings: Settings, project: Project, uploads: Uploads) -> None:
    """Raises Denied, with all that is lacking."""
    identity = project.account.identity
    wanted = {*IN_PROJECT, *(TO_SHARE if settings.share else ())}
    if settings.zone is not None:
        wanted |= TO_BOOT
    lacking = wanted - project.permitted(sorted(wanted))
    lacking |= ON_BUCKET - uploads.permitted(sorted(ON_BUCKET))
    if lacking:
        raise Denied(
            f"{identity} may not do all that location {project.location} needs",
            denial=Denial.TOO_NARROW,
            where=f"project {settings.project}, bucket {settings.bucket}",
            why=f"it lacks {', '.join(sorted(lacking))}",
            hint="docs/how-to/gce.md lists the roles that it needs",
        )
