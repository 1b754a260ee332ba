"""Facts and templates become pages.

Promises: everything that a template shows is escaped, and characters that steer a terminal or turn
the direction of a line are shown, not obeyed; a name that a template misspells is an error and not
an empty place.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import jinja2
from markupsafe import Markup

from imagectl.model.version import VersionRef
from imagectl.policy.wording import clean, counted, duration, listed, moment, size, span, stamp
from imagectl.site import paths

CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'"
)
"""What a browser may load for a page: nothing from elsewhere, nothing inline."""


class Templates:
    """The templates, read once."""

    def __init__(self, site: Mapping[str, object]) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("imagectl.site", "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=_shown,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._environment.filters.update(
            when=_when,
            day=_day,
            size=size,
            duration=duration,
            span=span,
            counted=counted,
            listed=listed,
            short=lambda digest: digest[:12],
        )
        self._environment.globals.update(site=site, csp=CSP, paths=paths, version_ref=VersionRef)

    def page(self, template: str, path: str, **facts: object) -> bytes:
        """The page at *path*, made with *template*."""
        made = self._environment.get_template(template)
        return made.render(up=paths.up(path), path=path, **facts).encode()


def _shown(value: object) -> object:
    """As it is put into a page, before it is escaped."""
    if isinstance(value, str) and not isinstance(value, Markup) and not value.isprintable():
        return clean(value)
    return value


def _when(at: datetime) -> Markup:
    """A time to the minute. A script may add how long ago that is."""
    return Markup('<time datetime="{}">{}</time>').format(stamp(at), moment(at))


def _day(at: datetime) -> Markup:
    """The day alone, where there is little room."""
    return Markup('<time datetime="{}">{}</time>').format(stamp(at), f"{at:%Y-%m-%d}")
