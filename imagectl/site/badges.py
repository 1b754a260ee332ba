"""What a channel points to, as a small picture for other people's pages."""

from __future__ import annotations

from html import escape

from imagectl.policy.wording import clean

COLOURS = {"good": "#1f6f43", "bad": "#a4262c", "none": "#5a6270"}
"""Each with white on it has a contrast above 4.5."""

_NARROW, _WIDE = "ijltf.-1'|!:;, ", "mwMW@%"


def badge(label: str, value: str, state: str) -> bytes:
    """The SVG. *state* is a word of ``COLOURS``; what it means is also in *value*."""
    label, value = clean(label), clean(value)
    left, right = _width(label) + 12, _width(value) + 12
    said = escape(f"{label}: {value}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="{said}">\n<title>{said}</title>\n'
        f'<clipPath id="c"><rect width="{left + right}" height="20" rx="4"/></clipPath>\n'
        f'<g clip-path="url(#c)"><rect width="{left}" height="20" fill="#3b414b"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{COLOURS[state]}"/></g>\n'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="11" '
        'text-anchor="middle">'
        f'<text x="{left / 2:g}" y="14" textLength="{left - 12}">{escape(label)}</text>'
        f'<text x="{left + right / 2:g}" y="14" textLength="{right - 12}">{escape(value)}</text>'
        "</g>\n</svg>\n"
    ).encode()


def _width(text: str) -> int:
    """Pixels, about, of Verdana at 11; ``textLength`` makes it so in other fonts."""
    return round(sum(4 if each in _NARROW else 10 if each in _WIDE else 6.9 for each in text))
