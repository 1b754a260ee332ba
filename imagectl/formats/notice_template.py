"""Templates of notices: Jinja's language, but for all that could take long or grow large.

Promises: what a template makes is no longer than its own text and fifty subjects' values allow, and
is made in that time: there are no calls, no arithmetic, no assignments, no loop in a loop, and no
filter that makes text longer. (Jinja's own sandbox keeps a template from Python's insides; it was
seen to build a text of 1 GB from ``{{ "x" * 10**9 }}``.) What it may not have is found when
``imagectl.yaml`` is read, not when something has happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from imagectl.model.notice import Notice
from imagectl.policy.wording import stamp

if TYPE_CHECKING:
    import jinja2

LONGEST_TEMPLATE = 4000
"""Characters."""

LONGEST_VALUE = 1000
"""Characters of any one value that a template is given."""

LONGEST_TEXT = 64 << 10
"""Characters of what is sent."""

FILTERS = ("upper", "lower", "title", "trim", "length", "first", "last", "default", "capitalize")

NAMES = ("event", "id", "generation", "at", "by", "reason", "subjects", "text")
"""What a template is given; each of ``subjects`` has image, channel, version, of and what."""


class BadTemplate(ValueError):
    """The template cannot be used. The message is for people."""


def check_template(text: str) -> str:
    """The text itself. Raises :class:`BadTemplate`."""
    _compiled(text)
    return text


def render_notice(notice: Notice, template: str | None) -> str:
    """The notice by that template; in the usual words without one. Raises :class:`BadTemplate`."""
    from imagectl.policy.notices import in_words  # consumers read settings too, and send nothing

    if template is None:
        return in_words(notice)[:LONGEST_TEXT]
    import jinja2

    compiled = _compiled(template)
    made, length = [], 0
    try:
        for part in compiled.generate(**_values(notice, in_words(notice))):
            made.append(part)
            length += len(part)
            if length > LONGEST_TEXT:
                raise BadTemplate(f"it makes more than {LONGEST_TEXT} characters")
    except jinja2.TemplateError as problem:
        raise BadTemplate(str(problem)) from None
    return "".join(made)


def _values(notice: Notice, text: str) -> Mapping[str, Any]:
    def cut(value: str) -> str:
        return value[:LONGEST_VALUE]

    return {
        "event": notice.event.value,
        "id": notice.id,
        "generation": notice.generation,
        "at": stamp(notice.at),
        "by": cut(notice.by),
        "reason": cut(notice.reason),
        "text": text[: LONGEST_TEXT // 4],
        "subjects": [
            {
                "image": each.image,
                "channel": each.channel,
                "version": each.version,
                "of": each.of,
                "what": cut(each.what),
            }
            for each in notice.subjects
        ],
    }


def _compiled(text: str) -> jinja2.Template:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    if len(text) > LONGEST_TEMPLATE:
        raise BadTemplate(f"it is longer than {LONGEST_TEMPLATE} characters")
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in FILTERS}
    environment.tests = {name: environment.tests[name] for name in ("defined", "equalto", "eq")}
    try:
        tree = environment.parse(text)
        _check(tree, 0)
        return environment.from_string(text)
    except jinja2.TemplateError as problem:
        line = getattr(problem, "lineno", None)
        raise BadTemplate(f"{problem}{f' (line {line})' if line else ''}") from None
    except RecursionError:
        raise BadTemplate("it is nested too deeply") from None


def _check(node: jinja2.nodes.Node, loops: int) -> None:
    from jinja2 import nodes

    allowed = (
        *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.If),
        *(nodes.Getattr, nodes.Filter, nodes.For, nodes.Compare, nodes.Operand, nodes.CondExpr),
        *(nodes.And, nodes.Or, nodes.Not, nodes.Test),
    )
    if not isinstance(node, allowed):
        kind = type(node).__name__
        raise BadTemplate(f"line {node.lineno}: {kind} is not known in templates of notices")
    if isinstance(node, nodes.Filter) and node.name not in FILTERS:
        raise BadTemplate(f"line {node.lineno}: there is no filter {node.name}")
    if isinstance(node, nodes.For):
        over = node.iter
        if loops or node.recursive or not isinstance(over, nodes.Name) or over.name != "subjects":
            raise BadTemplate(f"line {node.lineno}: there is one kind of loop: over subjects")
        if not isinstance(node.target, nodes.Name) or node.target.name in NAMES:
            raise BadTemplate(f"line {node.lineno}: name each of the subjects in another way")
        loops += 1
    for child in node.iter_child_nodes():
        _check(child, loops)
