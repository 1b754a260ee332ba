"""A verb of the command line: its help tells its exit codes, and shows it in use. And a family of
verbs."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence

import click

from imagectl.cli.invocation import json_option, project_option, quiet_option, verbose_option

EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "failed: something that was tried did not work",
    2: "bad usage, or a bad input file",
    3: "refused by policy; every reason is listed",
    4: "conflict: somebody else changed it; nothing was done",
    5: "cannot tell: the view is partial, stale or unverifiable; nothing was done",
    6: "not found",
    130: "interrupted; cleaned up",
}
"""What each exit code means, for every verb."""

_EVERY_VERB = (0, 1, 2, 130)

COMMON_OPTIONS = frozenset({"--json", "--project", "--quiet", "--verbose", "--help"})


class Verb(click.Command):
    """A command whose help shows examples and the exit codes that it can end with.

    ``exits`` says what the codes beyond 0, 1, 2 and 130 mean for this verb, and may say it more
    exactly for those. ``examples`` are (command, what it does). ``answers`` is the JSON document of
    ``--json``; a verb without one has no such option. ``more_answers`` are those that some of its
    options or input files lead to instead.
    """

    def __init__(
        self,
        name: str | None,
        *,
        exits: Mapping[int, str] | None = None,
        examples: Sequence[tuple[str, str]] = (),
        answers: type | None = None,
        more_answers: Sequence[type] = (),
        **attributes: typing.Any,
    ) -> None:
        super().__init__(name, **attributes)
        special = exits or {}
        codes = sorted({*_EVERY_VERB, *special})
        self.exits = {code: special.get(code, EXIT_CODES[code]) for code in codes}
        self.examples = tuple(examples)
        self.answers = answers
        self.more_answers = tuple(more_answers)
        common = [project_option(), quiet_option(), verbose_option()]
        if answers is not None:
            common.insert(0, json_option())
        self.params.extend(common)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, parameters in self.options_by_kind(ctx).items():
            records = [parameter.get_help_record(ctx) for parameter in parameters]
            shown = [record for record in records if record is not None]
            if shown:
                with formatter.section(title):
                    formatter.write_dl(shown)

    def options_by_kind(self, ctx: click.Context) -> dict[str, list[click.Parameter]]:
        """The verb's own options, and those that it has in common with others."""
        options = [each for each in self.get_params(ctx) if not isinstance(each, click.Argument)]
        common = [each for each in options if {*each.opts} & COMMON_OPTIONS]
        return {
            "Options": [each for each in options if each not in common],
            "Common options": common,
        }

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(formatter, self.examples)
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in self.exits.items()])


class Family(click.Group):
    """Verbs with a first word in common. Its help shows the first example of each."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        members = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        _write_examples(
            formatter,
            [each for verb in members if isinstance(verb, Verb) for each in verb.examples[:1]],
        )


def _write_examples(formatter: click.HelpFormatter, examples: Sequence[tuple[str, str]]) -> None:
    if examples:
        with formatter.section("Examples"):
            for command, what in examples:
                formatter.write_text(f"# {what}")
                formatter.write(f"{'':{formatter.current_indent}}{command}\n")
