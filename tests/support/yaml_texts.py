"""YAML that means harm, and text that is nearly YAML."""

from __future__ import annotations

from hypothesis import strategies as st

BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}, *{before}, *{before}, *{before}, *{before}]\n"
    for before, name in zip("abcdefghij", "bcdefghijk", strict=True)
)
"""Lists of aliases of lists of aliases: half a billion items, were they expanded."""

_WORDS = st.sampled_from(
    [
        *("a", "b", " ", "  ", "\n", "\n  ", "- ", ": ", "? ", ", ", "[", "]", "{", "}", "'", '"'),
        *("&a", "*a", "!", "!!int ", "|", ">", "%", "@", "<<", "---", "...", "#", "\\", "\t", "é"),
    ]
)

TEXTS = st.lists(_WORDS, max_size=60).map("".join)
