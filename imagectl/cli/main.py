"""The command line: the table of verbs, and what every run of one has in common.

Verbs are imported when they are called, so ``imagectl --help`` and shell completion stay quick.
Each error ends here: in words, with its exit code, never as a traceback.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import select
import shlex
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import NoReturn

import click

from imagectl import errors
from imagectl.cli.invocation import Invocation, project_option, quiet_option, verbose_option

VERBS: Mapping[str, Mapping[str, str]] = {
    "Projects": {
        "init": "start a new project, with an example that builds",
        "validate": "check definitions, playbooks, suites and the Packer template",
        "doctor": "check this machine, and say how to mend what is missing",
    },
    "Images": {
        "lock": "write down every input of an image, or take newer ones",
        "build": "build and test images, and let what passes enter its channel",
        "rebuild": "make a version again, to the byte",
        "test": "boot a version again and run its suites",
        "inputs": "look at what builds were made from",
    },
    "The catalog": {
        "list": "show images, channels and versions",
        "show": "show everything about one version",
        "diff": "show in what two versions differ",
        "scan": "list the known vulnerabilities of a version",
        "history": "show who moved which channel, when and why",
        "catalog": "check the catalog itself, or write what consumers read anew",
    },
    "Releases": {
        "publish": "put a version in its locations, and verify it there",
        "promote": "move a channel to what was proven in the one before it",
        "announce": "tell consumers what is coming, and take that back",
        "sign": "sign what waits for people, after looking at it",
        "rollback": "move a channel back to the version that was good before",
        "verify": "look whether channels work, and could be rolled back",
        "revoke": "say that a version is unsafe: nobody gets it any more",
        "restore": "say that a revoked version is safe after all",
    },
    "Keeping and cleaning up": {
        "hold": "protect a version from every cleanup",
        "unhold": "take a hold back",
        "lease": "have versions kept for a consumer for a while",
        "adopt": "take into the catalog what a location has and nobody recorded",
        "cleanup": "take down versions that nobody needs, one stage at a time",
        "janitor": "collect machines and other things that nobody needs any more",
    },
    "Operating": {
        "notify": "tell people and programs what happened: webhooks, Slack, mail",
        "metrics": "measure all this for Prometheus; what is not known has no number",
    },
    "Consumers": {
        "resolve": "say what a consumer gets",
        "pull": "download what a consumer gets, and verify it",
        "serve": "serve what is published over HTTP, with an API",
        "site": "show the catalog to people: pages, feeds and badges",
    },
}
"""Each verb with what it does, in the groups that ``--help`` shows. Its code is in the module of
the same name in this package, as ``command``."""


class Root(click.Group):
    """``imagectl`` itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for group in VERBS.values() for name in group]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(f"imagectl.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in self.list_commands(ctx):
            from difflib import get_close_matches

            near = get_close_matches(name, self.list_commands(ctx), n=1)
            raise errors.BadUsage(
                f"there is no verb {name!r}",
                hint=f"did you mean `imagectl {near[0]}`?"
                if near
                else "`imagectl --help` lists the verbs",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(name) for name in self.list_commands(ctx))
        for title, group in VERBS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), what) for name, what in group.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("More"):
            formatter.write_text("`imagectl VERB --help` shows examples and exit codes.")

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as problem:
            if _reader_is_gone():
                raise
            # click would end in silence, as is right only where our own reader has gone.
            raise RuntimeError("the pipe to a program broke") from problem

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = "imagectl",
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: object,
    ) -> NoReturn:
        arguments = list(sys.argv[1:] if args is None else args)
        invocation = Invocation(json="--json" in arguments)
        with _interruptible(invocation):
            try:
                status = self._run(arguments, prog_name or "imagectl", complete_var, invocation)
            except BrokenPipeError:  # whoever read the answer has gone: nobody to tell
                with contextlib.suppress(OSError, ValueError):  # a stream without a file
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                status = 1
        sys.exit(status)

    def _run(
        self, arguments: list[str], name: str, complete_var: str | None, invocation: Invocation
    ) -> int:
        try:
            result = super().main(
                arguments, name, complete_var, standalone_mode=False, obj=invocation
            )
            return result if isinstance(result, int) else 0
        except errors.ImagectlError as problem:
            return _report(problem, invocation)
        except click.exceptions.NoArgsIsHelpError as problem:
            click.echo(problem.format_message(), err=True)
            return problem.exit_code
        except click.UsageError as problem:
            return _report(_usage(problem), invocation)
        except click.ClickException as problem:
            return _report(errors.Failed(problem.format_message()), invocation)
        except (click.Abort, KeyboardInterrupt):
            return _report(errors.Interrupted("interrupted; cleaned up"), invocation)
        except OSError as problem:
            known = _by_this_machine(problem)
            return _report(known or _mistake(problem, arguments, invocation), invocation)
        except Exception as problem:
            return _report(_mistake(problem, arguments, invocation), invocation)


def _reader_is_gone() -> bool:
    """Whether nobody reads our standard output any more (poll(2), POLLERR)."""
    waiting = select.poll()
    try:
        waiting.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):  # a stream without a file
        return False
    return any(events & select.POLLERR for _, events in waiting.poll(0))


def _mistake(
    problem: Exception, arguments: list[str], invocation: Invocation
) -> errors.ImagectlError:
    """What nobody expected: a mistake of ours."""
    from imagectl.adapters.clock import SystemClock
    from imagectl.cli.crash import internal_error

    return internal_error(
        problem,
        start=invocation.directory,
        name=f"error-{SystemClock().now():%Y%m%dT%H%M%SZ}.log",
        command=shlex.join(["imagectl", *arguments]),
        verbose=invocation.verbose,
    )


def _by_this_machine(problem: OSError) -> errors.ImagectlError | None:
    """A full or broken disk or a missing right is no mistake of ours, wherever it shows."""
    where = str(problem.filename or "")
    hint = "`imagectl doctor` looks at each folder that imagectl writes to"
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return errors.NoSpace("no space left", where=where, why=problem.strerror or "", hint=hint)
    if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return errors.Failed(
            "this user may not do that", where=where, why=problem.strerror or "", hint=hint
        )
    if problem.errno == errno.EIO:
        return errors.Failed(
            "a disk of this machine fails",
            where=where,
            why=problem.strerror or "",
            hint="`dmesg` says what the kernel has seen; look after that disk, then type it again",
        )
    return None


def _report(problem: errors.ImagectlError, invocation: Invocation) -> int:
    invocation.out.error(problem)
    return problem.exit_code


def _usage(problem: click.UsageError) -> errors.BadUsage:
    path = problem.ctx.command_path if problem.ctx else "imagectl"
    message = problem.format_message()
    return errors.BadUsage(message[:1].lower() + message[1:].rstrip("."), hint=f"`{path} --help`")


@contextlib.contextmanager
def _interruptible(invocation: Invocation) -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or SIGHUP ends the work through its ``finally`` blocks; the second
    only says that this is under way, so that an impatient key does not leave a VM behind; the
    third ends even that (the next build removes what is left, P7)."""
    count = 0

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count == 2:
            invocation.out.urgent("still cleaning up; once more leaves the rest to the next build")
            return
        raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
    params=[project_option(), quiet_option(), verbose_option()],
)
@click.version_option(package_name="imagectl", message="imagectl %(version)s")
def root() -> None:
    """Build VM images reproducibly, prove them, and release them in channels."""


def main() -> NoReturn:
    """The ``imagectl`` program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not sys.warnoptions:
        # Libraries' remarks to their developers are nothing that a user can act on.
        warnings.simplefilter("ignore")
    root.main()
