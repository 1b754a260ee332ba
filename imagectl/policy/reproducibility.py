"""Whether a version is known to be the same bytes again, for channels that ask for it (P9)."""

from __future__ import annotations

from imagectl.model.version import Reproducible, Version


def unrepeatable(version: Version) -> tuple[str, ...]:
    """Why it does not count as reproducible, and what to do; empty where it does.

    That it was not tried is no proof either way (P8). Versions do not change, so the proof comes
    with a new one.
    """
    again = f"`imagectl build {version.image} --twice`"
    origin = version.origin
    if origin is None:
        return (
            f"{version.id}: built without a lock, so nobody can tell whether it is reproducible; "
            f"{again} makes one that can be told",
        )
    match origin.reproducible:
        case Reproducible.YES:
            return ()
        case Reproducible.NO:
            cause = origin.cause or "built twice, it was not the same"
            return (f"{version.id} is not reproducible: {cause}; mend that, then {again}",)
        case Reproducible.UNPROVEN:
            return (
                f"{version.id}: not proven to be reproducible; {again} makes one that is, "
                "or says why not",
            )
