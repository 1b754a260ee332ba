"""Packer, driven through packer.py, with its output streamed line by line.

The template is JSON rendered from a definition (docs/adr/0003): Packer reads JSON in every version
since 0.1, including 1.6.6, the last one under the MPL, which is what Debian ships.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from packerpy import PackerExecutable

from imagectl.adapters import process
from imagectl.errors import BuildFailed, ToolMissing

MINIMUM = (1, 6, 0)
"""1.6.0 has the ansible provisioner's ``use_proxy`` and the qemu builder's ``skip_resize_disk``."""

INSTALL = "apt-get install packer, or https://developer.hashicorp.com/packer/install"

_MESSAGE = re.compile(r"^(?:==> |\s+)?build: ?")


@dataclass(frozen=True, slots=True)
class BuildVm:
    """What the template of a provisioning build is rendered from. ``memory`` in bytes.

    ``qemu_arguments`` are pairs of an option and its value; a value may use Packer's own
    ``{{ .SSHHostPort }}``, the one thing here that is only known to Packer.
    """

    disk: Path
    output: Path
    qemu: str
    accelerator: str
    cpus: int
    memory: int
    private_key: Path
    ssh_seconds: int
    qemu_arguments: Sequence[tuple[str, str]]
    ansible_command: Path
    playbook: Path
    shutdown: str


def render(vm: BuildVm) -> str:
    """The Packer template, as JSON text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("imagectl.adapters", "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # the output is JSON, and every value is made JSON by a filter
    )
    environment.filters["packer"] = _json_for_packer
    environment.filters["packer_raw"] = json.dumps
    text = environment.get_template("packer.json.j2").render(
        disk=str(vm.disk),
        output=str(vm.output),
        qemu=vm.qemu,
        accelerator=vm.accelerator,
        cpus=vm.cpus,
        memory_mib=vm.memory >> 20,
        private_key=str(vm.private_key),
        ssh_timeout=f"{vm.ssh_seconds}s",
        qemu_arguments=[list(pair) for pair in vm.qemu_arguments],
        ansible_command=str(vm.ansible_command),
        playbook=str(vm.playbook),
        shutdown=vm.shutdown,
    )
    return json.dumps(json.loads(text), indent=2) + "\n"


def _json_for_packer(value: object) -> str:
    """JSON in which Packer's template language finds nothing to evaluate."""
    if isinstance(value, str):
        value = escape(value)
    return json.dumps(value)


def escape(text: str) -> str:
    """*text* such that Packer's template engine gives back exactly *text*."""
    return text.replace("{{", '{{ "{{" }}')


@dataclass(frozen=True, slots=True)
class Line:
    """One line of Packer's machine-readable output (packer.io, "Machine-Readable Output")."""

    target: str
    type: str
    data: tuple[str, ...]


def parse_line(text: str) -> Line | None:
    """A line of ``packer -machine-readable``; None where it is something else."""
    stamp, _, rest = text.partition(",")
    if not stamp.isdigit() or rest.count(",") < 1:
        return None
    target, kind, *data = rest.split(",")
    return Line(target, kind, tuple(_unescape(each) for each in data))


def _unescape(text: str) -> str:
    return text.replace("%!(PACKER_COMMA)", ",").replace("\\n", "\n").replace("\\r", "\r")


class StreamingPacker(PackerExecutable):  # type: ignore[misc]  # packer.py has no type hints
    """packer.py's executable, but each line is handed on as it comes.

    ``env`` is added to the environment; ``on_line`` is called from another thread. ``grace`` is for
    builders that have to remove what they have made elsewhere.
    """

    def __init__(
        self,
        executable: str,
        *,
        env: Mapping[str, str],
        cwd: Path,
        on_line: Callable[[str], None] | None = None,
        grace: process.Grace | None = None,
    ) -> None:
        super().__init__(executable_path=executable)
        self._env = {"CHECKPOINT_DISABLE": "1", "PACKER_NO_COLOR": "1", **env}
        self._cwd = cwd
        self._on_line = on_line
        self._grace = grace

    def execute_cmd(
        self, packer_cmd: str, template: str | None = None, **options: Any
    ) -> tuple[int, bytes, bytes]:
        """Run ``packer <packer_cmd>``: status, standard output, end of both streams."""
        command = [self.configuration[self.PATH], packer_cmd]
        if packer_cmd != "version":
            command.append("-machine-readable")
        command += self._explode_args(**options)
        if template:
            command.append(template)
        done = process.run(
            command,
            cwd=self._cwd,
            env=self._env,
            check=False,
            on_line=self._on_line,
            grace=self._grace,
        )
        return done.status, done.output.encode(), done.tail.encode()


def find() -> str:
    """Packer's path, after a check that it is new enough. Raises ToolMissing."""
    path = process.find("packer", hint=INSTALL)
    found = version(path)
    if found < MINIMUM:
        wanted, got = ".".join(map(str, MINIMUM)), ".".join(map(str, found))
        raise ToolMissing(
            f"Packer {got} is too old", where=path, why=f"{wanted} is needed", hint=INSTALL
        )
    return path


def version(path: str) -> tuple[int, ...]:
    """Packer's version, such as ``(1, 6, 6)``. Raises ToolMissing where it is not Packer."""
    _, output, _ = StreamingPacker(path, env={}, cwd=Path("/")).version()
    match = re.match(rb"Packer v(\d+)\.(\d+)\.(\d+)", output)
    if not match:
        raise ToolMissing(f"{path} is not Packer", why="`packer version` says something else")
    return tuple(int(part) for part in match.groups())


def validate(template: Path, work: Path, temporary: Path) -> None:
    """Let Packer check a rendered template. Raises BuildFailed with what Packer says."""
    lines: list[str] = []
    packer = StreamingPacker(
        find(),
        env=_env(work, temporary),
        cwd=work,
        on_line=lambda line: lines.extend(messages(line)),
    )
    status, _, _ = packer.validate(str(template))
    if status != 0:
        raise BuildFailed(
            "Packer refuses the rendered template",
            stage="validate",
            where=str(template),
            why="\n".join(lines).strip(),
        )


def build(
    template: Path,
    work: Path,
    temporary: Path,
    on_message: Callable[[str], None],
    env: Mapping[str, str],
) -> None:
    """Run the template to its end.

    ``on_message`` is given each line that Packer's VM or provisioner says. ``temporary`` must be
    short: Packer's plug-ins put sockets there. Raises BuildFailed with the last lines.
    """
    tail: list[str] = []

    def take(line: str) -> None:
        for message in messages(line):
            tail.append(message)
            del tail[: -process.TAIL_LINES]
            on_message(message)

    packer = StreamingPacker(find(), env={**_env(work, temporary), **env}, cwd=work, on_line=take)
    status, _, _ = packer.build(str(template), color=False, on_error="cleanup")
    if status != 0:
        raise BuildFailed(
            "Packer's build failed",
            stage="provision",
            where=str(template),
            why=_cause(tail),
            tail="\n".join(tail),
        )


def messages(line: str) -> list[str]:
    """What a line of machine-readable output says to people; empty where nothing."""
    parsed = parse_line(line)
    if parsed is None:
        return [line] if line.strip() else []
    if parsed.type == "ui" and len(parsed.data) > 1 and parsed.data[0] != "machine":
        return [_MESSAGE.sub("", text).rstrip() for text in parsed.data[1].splitlines()]
    return []


def _cause(tail: Sequence[str]) -> str:
    for line in reversed(tail):
        if "errored" in line or line.lower().startswith("error"):
            return line.strip()
    return "it ended without saying why"


def _env(work: Path, temporary: Path) -> dict[str, str]:
    """Packer's caches, plug-in sockets and temporary files stay in the run's folders."""
    return {
        "PACKER_CACHE_DIR": str(work / "packer-cache"),
        "PACKER_CONFIG_DIR": str(work),
        "TMPDIR": str(temporary),
    }
