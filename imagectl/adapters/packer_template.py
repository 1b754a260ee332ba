"""The user's own Packer template, run to its end.

It runs in the project's folder, as ``packer build`` typed there would, with the user's own plug-ins
and environment: nothing of what it downloads is recorded, and so what it makes is never
reproducible. What it is given beyond that is ``IMAGECTL_OUTPUT``, a folder for its files that is
removed afterwards (to HCL2 also as the variable ``imagectl_output``), and its variables, in a file
that only this user may read: secrets are neither on a command line nor in a log.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from imagectl.adapters import packer, process
from imagectl.adapters.packer_output import Artifact, Artifacts, Manifests, disk_of, image_of
from imagectl.adapters.secrets import read_secret
from imagectl.errors import BadInput, BuildFailed, Failed, NotFound, Problem
from imagectl.model.image import Image, JsonValue, PackerTemplate
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace

OUTPUT = "IMAGECTL_OUTPUT"

CLEAN_UP_SECONDS = 600.0
"""How long Packer has to remove what a build that is ended has made. It does so on SIGTERM, which
its outer process hands to the inner one (SIGINT it leaves to the terminal: seen with 1.6.6); a
cloud takes minutes to end a VM and to delete its disk."""

HIDDEN_LENGTH = 4
"""A shorter line of a secret is not looked for in what Packer says: it would be found in words."""


class PackerTemplates:
    """Implements ``services.ports.Templates``.

    ``secrets`` is the folder that a secret's file is relative to; ``cache`` that of Packer's
    downloads, which are the user's and stay.
    """

    def __init__(self, secrets: Path, cache: Path) -> None:
        self._secrets = secrets
        self._cache = cache

    def make_image(self, image: Image, project: Path, work: Workspace, progress: Progress) -> str:
        template = _template(image)
        return image_of(self._run(template, project, work, progress), str(template.template))

    def make_disk(self, image: Image, project: Path, work: Workspace, progress: Progress) -> Path:
        """The disk that the template leaves on this machine, in any format. Raises BuildFailed."""
        template = _template(image)
        made = self._run(template, project, work, progress)
        return disk_of(made, project, str(template.template))

    def check(self, image: Image, project: Path, work: Path, progress: Progress) -> None:
        """Let Packer check the template: whole, or where a secret is not to be had here, its syntax
        alone. Raises BadInput, ToolMissing."""
        template = _template(image)
        options: dict[str, object] = {}
        try:
            secrets = self._values(template)
        except (NotFound, Failed) as missing:
            secrets = {}
            options["syntax_only"] = True
            progress.note(f"only the syntax of {template.template} was checked: {missing.what}")
        lines: list[str] = []
        with _variables(template, secrets, work) as file:
            status, _, _ = packer.StreamingPacker(
                packer.find(),
                env=self._environment(work, work),
                cwd=project,
                on_line=lambda line: lines.extend(packer.messages(line)),
            ).validate(str(template.template), **{**options, **_options(template, file)})
        if status != 0:
            said = " ".join(each.strip() for each in lines if each.strip())
            what = f"packer validate: {_Hider(secrets).hide(said)}"
            raise BadInput([Problem(str(template.template), 0, 0, what)])

    def _run(
        self, template: PackerTemplate, project: Path, work: Workspace, progress: Progress
    ) -> tuple[Artifact, ...]:
        """Everything that it says it has made, by its output and its manifest."""
        secrets = self._values(template)
        output = work.sub("output")
        manifests = Manifests.seen([project, output, (project / template.template).parent])
        listener = _Listener(work.log, progress, _Hider(secrets))
        with _variables(template, secrets, work.folder) as file, listener:
            status, _, _ = packer.StreamingPacker(
                packer.find(),
                env=self._environment(work.sockets, output),
                cwd=project,
                on_line=listener.take,
                grace=process.Grace(CLEAN_UP_SECONDS, progress.note),
            ).build(
                str(template.template),
                color=False,
                on_error="cleanup",
                **_options(template, file),
            )
        made = (*listener.artifacts.made, *manifests.made())
        if status != 0 or (not made and listener.errors):
            raise BuildFailed(
                "the Packer template failed",
                stage="template",
                where=str(template.template),
                why=listener.cause,
                tail="\n".join(listener.tail),
                log=str(work.log),
                hint="Packer has removed what it was making, where it could; mend it, then build "
                "again",
            )
        return made

    def _values(self, template: PackerTemplate) -> Mapping[str, str]:
        return {name: read_secret(ref, self._secrets) for name, ref in template.secrets.items()}

    def _environment(self, temporary: Path, output: Path) -> dict[str, str]:
        return {
            "PACKER_CACHE_DIR": str(self._cache),
            "TMPDIR": str(temporary),
            OUTPUT: str(output),
            f"PKR_VAR_{OUTPUT.lower()}": str(output),
        }


def _template(image: Image) -> PackerTemplate:
    assert isinstance(image.base, PackerTemplate)
    return image.base


def _options(template: PackerTemplate, variables: Path) -> dict[str, object]:
    options: dict[str, object] = {"var_file": variables}
    if template.only is not None:
        options["only"] = template.only
    return options


@contextlib.contextmanager
def _variables(
    template: PackerTemplate, secrets: Mapping[str, str], folder: Path
) -> Iterator[Path]:
    """A file with the values of the template's variables, for as long as the block runs."""
    values: dict[str, JsonValue] = {**template.variables, **secrets}
    if not template.template.name.endswith(".pkr.hcl"):
        # Variables of a JSON template are texts.
        values = {name: _as_text(value) for name, value in values.items()}
    path = folder / "variables.pkrvars.json"
    path.touch(mode=0o600)
    try:
        path.write_text(json.dumps(values))
        yield path
    finally:
        path.unlink()


def _as_text(value: JsonValue) -> JsonValue:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else value


class _Hider:
    """Takes secrets out of texts."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        parts = {
            part.strip(): name
            for name, value in secrets.items()
            for part in (value, *value.splitlines())
            if len(part.strip()) >= HIDDEN_LENGTH
        }
        self._parts = sorted(parts.items(), key=lambda each: -len(each[0]))

    def hide(self, text: str) -> str:
        for part, name in self._parts:
            text = text.replace(part, f"<secret {name}>")
        return text


class _Listener:
    """Keeps what Packer says: for people in the build log, its artifacts, and why it failed."""

    def __init__(self, log: Path, progress: Progress, hider: _Hider) -> None:
        self.artifacts = Artifacts()
        self.tail: list[str] = []
        self.errors: list[str] = []
        self._path = log
        self._progress = progress
        self._hider = hider

    def __enter__(self) -> _Listener:
        self._log = self._path.open("a", encoding="utf-8", errors="backslashreplace")
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()

    def take(self, text: str) -> None:
        if self._log.closed:  # a build that is ended leaves lines that nobody has taken yet
            return
        line = packer.parse_line(text)
        if line is not None:
            self.artifacts.take(line)
        said = [self._hider.hide(each) for each in packer.messages(text) if each.strip()]
        if line is not None and line.type == "ui" and line.data[:1] == ("error",):
            self.errors += said
        for each in said:
            self._log.write(f"{each}\n")
            self._progress.step(each.strip().removeprefix("==> "))
        self._log.flush()
        self.tail = [*self.tail, *said][-process.TAIL_LINES :]

    @property
    def cause(self) -> str:
        """What went wrong, in Packer's words: the errors, the first ones where they are many."""
        return "\n".join(self.errors[:10]) or "it ended without saying why"
