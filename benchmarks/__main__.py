"""``python -m benchmarks [NAME...]``: run those named, or all."""

from __future__ import annotations

import sys

from benchmarks import (
    cleanup,
    consumer,
    disk,
    listing,
    packer,
    proxy,
    publish,
    published,
    serve,
    site,
    startup,
)

BENCHMARKS = {
    "startup": startup.main,
    "disk": disk.main,
    "large": disk.large,
    "packer": packer.main,
    "proxy": proxy.main,
    "publish": publish.main,
    "published": published.main,
    "serve": serve.main,
    "site": site.main,
    "listing": listing.main,
    "cleanup": cleanup.main,
    "consumer": consumer.main,
}


def main(names: list[str]) -> int:
    """Run the benchmarks named, or all."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
        return 2
    for name in names or list(BENCHMARKS):
        print(f"== {name}")
        BENCHMARKS[name]()
    return 0


sys.exit(main(sys.argv[1:]))
