"""What the search of the site finds: images, channels, versions, and the packages of those that
channels point to. A script that defines one value, so that it also loads from a folder."""

from __future__ import annotations

import json

from imagectl.model.contents import Contents
from imagectl.policy.wording import clean
from imagectl.site import paths
from imagectl.site.looking import Looking
from imagectl.site.views import ImageView


def index(images: tuple[ImageView, ...], looking: Looking) -> bytes:
    """The script. Entries are ``[title, page, what is said of it]``."""
    found: list[list[str]] = []
    packages: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for image in images:
        found.append([image.name, paths.image(image.name), image.summary])
        for channel in image.channels:
            page = paths.channel(image.name, channel.name)
            found.append([f"{image.name} {channel.name}", page, channel.said])
        for version in image.versions:
            said = " ".join([*version.channels, "revoked" if version.revoked else ""]).strip()
            found.append([str(version.ref), paths.version(version.ref), said])
            if version.channels:
                contents = looking.contents(version.version)
                if isinstance(contents, Contents):
                    where = (str(version.ref), paths.version(version.ref))
                    for package in contents.debian:
                        packages.setdefault((package.name, package.version), []).append(where)
                    for other in (*contents.pip, *contents.npm):
                        packages.setdefault((other.name, other.version), []).append(where)
    for (name, version_), places in sorted(packages.items()):
        for ref, page in dict.fromkeys(places):
            found.append([f"{name} {version_}", page, f"package in {ref}"])
    text = json.dumps([[clean(each) for each in entry] for entry in found], separators=(",", ":"))
    return f"globalThis.imagectlIndex={text};\n".encode()
