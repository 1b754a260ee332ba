"""The documentation is current, its links lead somewhere, and its commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from imagectl.cli import reference
from imagectl.cli.main import root
from imagectl.cli.verb import Verb

PROJECT = Path(__file__).parents[2]
PAGES = sorted(
    [*(PROJECT / "docs").rglob("*.md"), PROJECT / "README.md", PROJECT / "CONTRIBUTING.md"]
)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", reference.pages())
def test_generated_pages_are_current(path: str) -> None:
    page = PROJECT / "docs" / path
    assert page.read_text() == reference.pages()[path], "`make docs` writes it again"


def test_the_check_finds_a_page_that_is_not_current(tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(reference.write, [str(tmp_path)]).exit_code == 0
    assert run(reference.write, ["--check", str(tmp_path)]).exit_code == 0
    page = tmp_path / "reference" / "cli.md"
    page.write_text(page.read_text() + "more\n")
    result = run(reference.write, ["--check", str(tmp_path)])
    assert result.exit_code == 1
    assert str(page) in result.output
    assert "more" in page.read_text()


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Markdown viewers make them."""
    text = _FENCE.sub("", page.read_text())
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each).strip().lower().replace(" ", "-") for each in headings}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_index_names_every_page() -> None:
    index = PROJECT / "docs" / "README.md"
    linked = {
        (index.parent / link.partition("#")[0]).resolve()
        for link in _LINK.findall(index.read_text())
    }
    pages = {
        page
        for page in PAGES
        if page.is_relative_to(index.parent) and page.parent.name != "adr" and page != index
    }
    assert pages - linked == set()


def commands(page: Path) -> list[str]:
    """Every `imagectl ...` that the page tells its reader to type."""
    found = []
    for language, block in _FENCE.findall(page.read_text()):
        if language in ("sh", "console", "bash"):
            for line in block.replace("\\\n", "").splitlines():
                typed = line.removeprefix("$ ")
                if language == "console" and typed == line:
                    continue  # what was printed
                for part in re.split(r"&&|\|\||;|\||\s>>?\s", typed):
                    match = re.search(r"(?:^\s*|\$\()((?:\S*/)?imagectl [^)]*)", part)
                    if match:
                        found.append(match[1])
    return found


@each_page
def test_commands_exist_with_those_arguments(page: Path) -> None:
    for command in commands(page):
        words = shlex.split(command, comments=True)[1:]
        assert parses(words), f"{page.name}: {command}"


def parses(words: list[str]) -> bool:
    """Whether the command line is one, without running it."""
    group: click.Group = root
    context = click.Context(root)
    rest = words
    while rest and rest[0] in ("-q", "-v"):
        rest = rest[1:]
    while rest:
        found = group.get_command(context, rest[0])
        rest = rest[1:]
        if isinstance(found, click.Group):
            group = found
        elif isinstance(found, Verb):
            try:
                found.make_context(found.name, rest, resilient_parsing=False)
            except click.exceptions.Exit:
                return True
            except click.UsageError:
                return False
            return True
        else:
            return False
    return words in (["--help"], ["--version"])


def test_commands_are_found_in_pages() -> None:
    found = commands(PROJECT / "docs" / "how-to" / "follow-a-channel.md")
    assert found[0] == "imagectl resolve debian-ci"
    assert "imagectl resolve --branch next" in found


def test_commands_that_do_not_exist_are_found() -> None:
    assert parses(["promote", "stable", "--reason", "x y"])
    assert parses(["catalog", "verify"])
    assert not parses(["promte", "stable"])
    assert not parses(["promote", "stable", "--raeson", "x"])
    assert not parses(["show", "Debian!"])


def test_metrics_and_verify_are_told_to_write_files_of_their_own() -> None:
    """Each replaces its file as a whole, and so what the other one has written there."""
    files: dict[str, set[str]] = {"metrics": set(), "verify": set()}
    for words in (shlex.split(command) for page in PAGES for command in commands(page)):
        verb = next((word for word in words[1:] if not word.startswith("-")), "")
        if option := {"metrics": "--out", "verify": "--metrics"}.get(verb):
            files[verb] |= {words[words.index(option) + 1]} if option in words else set()
    assert files["metrics"]
    assert files["verify"] - {"FILE"}
    assert not files["metrics"] & files["verify"]
