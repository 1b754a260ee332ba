"""``volatile`` in ``image.yaml``: paths in which two builds of this image would differ."""

from __future__ import annotations

import re

from imagectl.formats.paths import NO_CONTROLS
from imagectl.formats.reading import Unfit
from imagectl.formats.scalars import Choice, Text
from imagectl.formats.schema import List, Record, Values, optional, required
from imagectl.formats.yaml_strict import shown
from imagectl.model.image import Edit, VolatileAction, VolatileRule
from imagectl.model.patterns import is_condition, to_edit, to_regex

_PATH_PATTERN = rf"^(?!/)(?!(.*[/{{,])?\.{{1,2}}([/}},]|$))(?!.*//)(?!.+/$)[^{NO_CONTROLS}\\]+$"


def _path(text: str) -> str:
    """A pattern of paths inside the image, which no image is without."""
    if text.startswith("/"):
        hint = f"paths are inside the image; write {text.lstrip('/')!r}"
        raise Unfit(f"{shown(text)} is an absolute path", hint)
    if any(part in (".", "..") for part in re.split("[/{},]", text)):
        raise Unfit(f"{shown(text)} leads out of where it is", "'.' and '..' match no path")
    if "//" in text or text.endswith("/"):
        raise Unfit(
            f"{shown(text)} matches no path", "a folder is named without a slash at its end"
        )
    if "\\" in text:
        raise Unfit(f"{shown(text)} holds a backslash", "nothing has to be escaped; [*] is a star")
    if re.fullmatch(to_regex(text), b"any-name", re.DOTALL):
        raise Unfit(f"{shown(text)} would take the whole image", "begin with a folder, as var/")
    return text


def _find(text: str) -> str:
    to_edit(text, "")
    return text


_FIND = required(
    "find",
    Text(_find, "a regular expression", longest=500),
    "A regular expression as Python has them, searched in each line.",
)
_REPLACE = optional(
    "replace",
    Text(str, "a text", longest=500),
    "What takes the place of what was found; `\\1` is its first group. Without it, nothing does.",
)


def _check_edit(values: Values) -> None:
    if _FIND in values and _REPLACE in values:
        try:
            to_edit(values[_FIND], values[_REPLACE] or "")
        except ValueError as error:
            values.reject(("replace",), str(error))


EDIT: Record[Edit] = Record(
    "A change of a file's text.",
    (_FIND, _REPLACE),
    lambda values: Edit(values[_FIND], values[_REPLACE] or ""),
    _check_edit,
)

_PATH = required(
    "path",
    Text(_path, "a pattern of paths inside the image", _PATH_PATTERN),
    "The paths, without a leading slash. `*` and `?` stop at a slash, `**` does not, `[a-z]` is "
    "one of these, `{a,b}` is either.",
)
_ACTION = required(
    "action",
    Choice(VolatileAction),
    "`drop`: it is not in the image, a folder with all that is in it. `empty`: the file stays, with"
    " its owner and mode, and holds nothing. `rewrite`: parts of its text are replaced."
    " `first-boot`: it is not in the image; each machine makes its own when it first boots.",
)
_REASON = required(
    "reason", Text(str, "one line of text"), "Why two builds differ there, for those who read this."
)
_EDITS = optional("edits", List(EDIT, "edits"), "With `rewrite`: the changes, in their order.")
_COMMAND = optional(
    "command",
    Text(str, "one line for a shell", longest=1000),
    "With `first-boot`: what makes it, as root, on the machine's first boot.",
)


def _check_rule(values: Values) -> None:
    """Each action has what it needs, and nothing that it would pass over."""
    if _ACTION not in values:
        return
    action, typed = values[_ACTION], values.keys()
    for key, owner in (("edits", VolatileAction.REWRITE), ("command", VolatileAction.FIRST_BOOT)):
        if action is owner and key not in typed:
            values.reject(("action",), f"{action.value} needs {key!r}")
        if action is not owner and key in typed:
            values.reject((key,), f"belongs to {owner.value!r}; the action is {action.value!r}")
    if action is VolatileAction.FIRST_BOOT and _PATH in values and not is_condition(values[_PATH]):
        values.reject(
            ("path",),
            "no machine can tell whether it has something at such a path",
            "with first-boot, '**' may only stand alone after a folder, as in var/lib/cache/**",
        )


def _rule(values: Values) -> VolatileRule:
    edits, command = values[_EDITS], values[_COMMAND]
    return VolatileRule(values[_PATH], values[_ACTION], values[_REASON], edits or (), command or "")


RULE: Record[VolatileRule] = Record(
    "Paths, and what becomes of them.",
    (_PATH, _ACTION, _REASON, _EDITS, _COMMAND),
    _rule,
    _check_rule,
)

RULES = List(RULE, "rules", may_be_empty=True)
