"""What can be found wrong with a definition in seconds, by the tools themselves."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from imagectl.adapters import ansible, galaxy, guest, packer, qemu, testinfra
from imagectl.adapters.packer_template import PackerTemplates
from imagectl.errors import BadInput, BuildFailed, Problem
from imagectl.model.image import Image, PackerTemplate
from imagectl.services.ports.progress import Progress


class ToolChecks:
    """Implements ``services.ports.Checks`` with ansible-playbook, pytest and Packer."""

    def __init__(self, project: Path, templates: PackerTemplates) -> None:
        self._project = project
        self._templates = templates

    def check(self, image: Image, progress: Progress) -> None:
        where = f"images/{image.name}/image.yaml"
        problems: list[Problem] = []
        with tempfile.TemporaryDirectory(prefix="imagectl-") as folder:
            work = Path(folder)
            for what, check in self._checks(image, work, where, progress):
                progress.step(f"checking {what} of {image.name}")
                try:
                    check()
                except BadInput as bad:
                    problems += bad.problems
        if problems:
            raise BadInput(problems)

    def _checks(
        self, image: Image, work: Path, where: str, progress: Progress
    ) -> Iterator[tuple[str, Callable[[], None]]]:
        project, template = self._project, "the Packer template"
        yield "the suites", lambda: testinfra.collect(image.suites, project, image.name)
        if isinstance(image.base, PackerTemplate):
            yield template, lambda: self._templates.check(image, project, work, progress)
            return
        yield (
            "the playbook's syntax",
            lambda: check_playbook(image, project, work, where, progress),
        )
        yield galaxy.REQUIREMENTS, lambda: galaxy.check(project)
        yield template, lambda: check_template(image, work, where)


def check_playbook(image: Image, project: Path, work: Path, where: str, progress: Progress) -> None:
    """Let Ansible check the playbook's syntax. Raises BadInput."""
    try:
        ansible.check_syntax(image.provision, project, work, where)
    except BadInput as bad:
        missing = galaxy.not_installed("\n".join(each.what for each in bad.problems))
        if missing is None or not (project / galaxy.REQUIREMENTS).is_file():
            raise
        # Ansible goes no further here. The build will: it installs what is asked for.
        progress.note(
            f"the playbook of {image.name} was checked as far as {missing!r}, which is not here "
            f"before a build installs what {galaxy.REQUIREMENTS} asks for. To check it to its end: "
            f"{galaxy.INSTALL}"
        )


def check_template(image: Image, work: Path, where: str) -> None:
    """Let Packer check the template that a build of *image* would render. Raises BadInput."""
    keys = guest.make_keys(work)
    disk, playbook, template = (work / name for name in ("build.disk", "play.yml", "packer.json"))
    disk.touch()
    playbook.write_text("[]\n")
    template.write_text(
        packer.render(
            packer.BuildVm(
                disk=disk,
                output=work / "output",
                qemu=qemu.system_binary(image.architecture),
                accelerator=qemu.Accelerator.TCG.value,
                cpus=image.build_cpus,
                memory=image.build_memory,
                private_key=keys.private,
                ssh_seconds=1,
                qemu_arguments=(),
                ansible_command=Path("/bin/true"),
                playbook=playbook,
                shutdown="true",
            )
        )
    )
    try:
        packer.validate(template, work, work)
    except BuildFailed as problem:
        raise BadInput([Problem(where, 0, 0, f"packer validate: {problem.why}")]) from problem
