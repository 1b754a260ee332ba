"""The program that runs debsbom: a request as JSON on standard input, two documents as files.

See ``sbom.py`` for why it is a program of its own.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from uuid import UUID

from debsbom.bomwriter import BomWriter
from debsbom.bomwriter.bomwriter import SerializerOpts
from debsbom.generate import Debsbom, SBOMType


def main() -> None:
    """Read the request and write both documents."""
    # It warns of each source package that is only known by name, of which Go has hundreds.
    logging.disable(logging.WARNING)
    request: dict[str, Any] = json.load(sys.stdin)
    identity = UUID(request["uuid"])
    generator = Debsbom(
        distro_name=request["name"],
        root=request["root"],
        distro_version=request["version"] or None,
        distro_arch=request["architecture"],
        distro_summary=request["summary"],
        spdx_namespace=urlparse(identity.urn),
        cdx_serialnumber=identity,
        timestamp=datetime.fromtimestamp(request["epoch"], UTC),
    )
    generator.scan()
    for kind, out in (
        (SBOMType.SPDX, request["spdx"]),
        (SBOMType.CycloneDX, request["cyclonedx"]),
    ):
        writer = BomWriter.create(kind)
        options = SerializerOpts.create(kind)
        writer.write_to_file(generator.generate(kind), Path(out), validate=False, opts=options)


if __name__ == "__main__":
    main()
