"""What one run of ``imagectl`` was told on its command line, whatever the verb."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imagectl.cli.output import Output

if TYPE_CHECKING:
    from imagectl.bootstrap.project import Project
    from imagectl.services.ports.progress import Progress


@dataclass(slots=True)
class Invocation:
    """The flags that every verb has. Filled in while click reads the command line, then only read.

    ``directory`` is where the search for the project begins.
    """

    directory: Path = field(default_factory=Path.cwd)
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    _showing: list[Progress] = field(default_factory=list)

    @property
    def out(self) -> Output:
        """Where this run speaks."""
        return Output(json=self.json, quiet=self.quiet, verbose=self.verbose, showing=self._showing)

    def open_project(self) -> Project:
        """The project that this run is about, open until the run ends. Raises NotFound."""
        from imagectl.bootstrap.project import open_project

        project = open_project(self.directory)
        project.remark = self.out.remark
        context = click.get_current_context()
        context.call_on_close(project.close)
        context.call_on_close(lambda: self._tell_keys(project))
        context.call_on_close(lambda: self._notify(project))
        return project

    def _notify(self, project: Project) -> None:
        """Tell whoever wants to be told what the catalog has recorded. Whatever goes wrong with
        that is a warning: what was done is done."""
        if not project.has_catalog_open or not project.settings.notify:
            return
        from dataclasses import replace

        from imagectl.errors import ImagectlError
        from imagectl.services.notify import tell

        try:
            tell(replace(project.notifying, said=self.out.warn))
        except ImagectlError as problem:
            why = f": {problem.why}" if problem.why else ""
            self.out.warn(f"notices were not sent: {problem.what}{why}")

    def _tell_keys(self, project: Project) -> None:
        """Say that keys were made, and where they belong: nobody else will."""
        made = project.keys_made
        if made:
            self.out.warn(
                f"the keys that sign what consumers read were made in {made[0].parent}; "
                "root.pem and targets.pem say whose keys count: keep them offline, and a copy of "
                "them. Commit catalog/root.json and catalog/targets.json"
            )


pass_invocation = click.make_pass_decorator(Invocation)
"""Hands the :class:`Invocation` to a verb as its first argument."""


def project_option() -> click.Option:
    """``-C DIR``."""

    def remember(context: click.Context, _: click.Parameter, value: Path | None) -> None:
        if value is not None:
            invocation = context.ensure_object(Invocation)
            invocation.directory = invocation.directory / value

    return click.Option(
        ["-C", "--project"],
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="DIR",
        expose_value=False,
        callback=remember,
        help="Look for the project in DIR and its parents, not in the current folder.",
    )


def quiet_option() -> click.Option:
    """``-q``."""

    def remember(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            context.ensure_object(Invocation).quiet = True

    return click.Option(
        ["-q", "--quiet"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=remember,
        help="No progress and no advice; only answers and errors.",
    )


def verbose_option() -> click.Option:
    """``-v``."""

    def remember(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            context.ensure_object(Invocation).verbose = True

    return click.Option(
        ["-v", "--verbose"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=remember,
        help="Whole logs in errors, not only their last lines.",
    )


def json_option() -> click.Option:
    """``--json``."""

    def remember(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            context.ensure_object(Invocation).json = True

    return click.Option(
        ["--json"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=remember,
        help="Answer with one JSON object on standard output, also for an error.",
    )
