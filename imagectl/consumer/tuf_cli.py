"""The command line that the conformance suite of the TUF project drives (its page CLIENT-CLI).

::

    python -m imagectl.consumer.tuf_cli --metadata-dir D init ROOT
    python -m imagectl.consumer.tuf_cli --metadata-dir D --metadata-url U refresh
    python -m imagectl.consumer.tuf_cli --metadata-dir D --metadata-url U \\
        --target-name N --target-dir T --target-base-url B download

Promises: 0 where all of it was done, else 1; D holds what is trusted, each file under its name
without a version, and is never the worse for a failure; a file of T is whole and verified. It is
the client that ``imagectl resolve`` uses, for any TUF repository.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock
from tuf.api.exceptions import DownloadError, RepositoryError

from imagectl.consumer.cache import LOCK_SECONDS, write
from imagectl.consumer.fetching import TreeFetcher
from imagectl.consumer.updating import DurableUpdater


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what *arguments* say, those of the process where left out. The exit code."""
    asked = _parse(arguments)
    folder: Path = asked.metadata_dir
    try:
        with FileLock(folder / ".lock", timeout=LOCK_SECONDS):
            match asked.command:
                case "init":
                    write(folder / "root.json", asked.root.read_bytes())
                case "refresh":
                    _updater(asked).refresh()
                case _:
                    _download(_updater(asked), asked.target_name, asked.target_dir)
    except (OSError, ValueError, RepositoryError, DownloadError) as error:
        # A deep cause may be the only one with words: python-tuf wraps what a fetcher raises.
        said = [str(each) for each in (error, error.__cause__) if each is not None and str(each)]
        sys.stderr.write(f"{asked.command}: {': '.join(said) or type(error).__name__}\n")
        return 1
    return 0


def _updater(asked: argparse.Namespace) -> DurableUpdater:
    return DurableUpdater(
        asked.metadata_dir,
        asked.metadata_url,
        TreeFetcher(),
        None,
        root=None,  # the one that init was given
        targets_folder=asked.target_dir,
        targets_url=asked.target_base_url,
    )


def _download(updater: DurableUpdater, name: str, folder: Path) -> None:
    found = updater.get_targetinfo(name)
    if found is None:
        raise RepositoryError(f"nobody has signed a file {name}")
    if updater.find_cached_target(found) is not None:
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as partial:
        path = updater.download_target(found, str(Path(partial, "file")))
        Path(path).replace(folder / quote(found.path, ""))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m imagectl.consumer.tuf_cli")
    parser.add_argument("--metadata-dir", required=True, type=Path, help="what is trusted")
    parser.add_argument("--metadata-url", help="where the repository's metadata is")
    parser.add_argument("--target-name", help="which file to download")
    parser.add_argument("--target-dir", type=Path, help="where to put it")
    parser.add_argument("--target-base-url", help="where the repository's files are")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init", help="trust a root").add_argument("root", type=Path)
    commands.add_parser("refresh", help="fetch and verify metadata")
    commands.add_parser("download", help="fetch and verify a file")
    asked = parser.parse_args(arguments)
    needed = {
        "init": (),
        "refresh": ("metadata_url",),
        "download": ("metadata_url", "target_name", "target_dir", "target_base_url"),
    }[asked.command]
    missing = [name for name in needed if getattr(asked, name) is None]
    if missing:
        parser.error(f"{asked.command} needs --{missing[0].replace('_', '-')}")
    return asked


if __name__ == "__main__":
    sys.exit(main())
