"""An exception that nobody expected becomes one line, and a file with all that a report needs."""

from __future__ import annotations

import contextlib
import tempfile
import traceback
from pathlib import Path

from imagectl.errors import ImagectlError


class InternalError(ImagectlError):
    """A mistake in imagectl itself. ``log`` names the file with the traceback, empty where it went
    to standard error instead."""

    kind = "internal-error"

    def __init__(self, what: str, *, log: str, why: str, hint: str) -> None:
        super().__init__(what, why=why, hint=hint)
        self.log = log


def internal_error(
    problem: BaseException, *, start: Path, name: str, command: str, verbose: bool
) -> InternalError:
    """Keep the traceback of *problem*, and say in one line what happened.

    It goes to ``.imagectl/logs/<name>`` of the project around *start*, outside of a project to the
    folder for temporary files, and with *verbose* to standard error.
    """
    text = f"{command}\n\n{''.join(traceback.format_exception(problem))}"
    said = " ".join(str(problem).split())[:200]
    what = f"internal error: {type(problem).__name__}" + (f": {said}" if said else "")
    if verbose:
        return InternalError(
            what,
            log="",
            why=text,
            hint="please report this with the lines above and the output of `imagectl doctor`",
        )
    log = _keep(text, start, name)
    return InternalError(
        what,
        log=log,
        why=f"this is a mistake in imagectl; the details are in {log}"
        if log
        else "this is a mistake in imagectl; the details could not be written to a file",
        hint=f"please report it with {log} and the output of `imagectl doctor`"
        if log
        else "run it again with -v to see the details",
    )


def _keep(text: str, start: Path, name: str) -> str:
    for folder in (start, *start.parents):
        if (folder / "imagectl.yaml").is_file():
            with contextlib.suppress(OSError):
                logs = folder / ".imagectl" / "logs"
                logs.mkdir(parents=True, exist_ok=True)
                (logs / name).write_text(text, encoding="utf-8")
                return str(logs / name)
            break
    with (
        contextlib.suppress(OSError),
        tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", prefix="imagectl-", suffix=".log", delete=False
        ) as file,
    ):
        file.write(text)
        return file.name
    return ""
