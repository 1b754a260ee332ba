"""``notify`` in ``imagectl.yaml``: who is told of what happened to channels and versions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from imagectl.formats.notice_template import LONGEST_TEMPLATE, BadTemplate, check_template
from imagectl.formats.paths import FOLDER, URL
from imagectl.formats.reading import Unfit
from imagectl.formats.scalars import Choice, Integer, Text, matching
from imagectl.formats.schema import (
    Field,
    List,
    Record,
    TextOr,
    defaulted,
    optional,
    required,
)
from imagectl.formats.secret_ref import SECRET
from imagectl.model.image import SecretRef
from imagectl.model.notice import (
    EVENTS,
    EmailTarget,
    Happened,
    Login,
    MailSecurity,
    NotifyTarget,
    SlackTarget,
    WebhookTarget,
)


def _template(text: str) -> str:
    try:
        return check_template(text)
    except BadTemplate as problem:
        raise Unfit("this is no template of a notice", str(problem)) from None


def _event(text: str) -> Happened:
    for each in EVENTS:
        if each.value == text:
            return each
    raise Unfit(f"{text[:40]!r} is no event", f"known: {', '.join(e.value for e in EVENTS)}")


_EVENTS = defaulted(
    "events",
    List(
        Text(_event, "an event", f"^({'|'.join(each.value for each in EVENTS)})$"),
        "events",
    ),
    "What it is told of.",
    [each.value for each in EVENTS],
)
_CA = optional("ca", FOLDER, "A file of certificates that count, in place of the system's.")
_TEMPLATE = optional(
    "template",
    Text(_template, "a template", r"^[\s\S]+$", LONGEST_TEMPLATE),
    "The text, in Jinja's language: event, text, at, by, reason, generation, id, and subjects, "
    "each with image, channel, version, of, what. The usual words where it is left out.",
)
_ADDRESS = matching(r"^[^\s@<>,;:\"()]+@[A-Za-z0-9.-]+$", "the address of a mailbox")

_URL: Field[str | SecretRef] = required(
    "url", TextOr(URL, SECRET), "Where it is posted to; by reference where it is a secret."
)
_SECRET = optional(
    "secret", SECRET, "Signs the body: X-Imagectl-Signature is its HMAC-SHA256 with this."
)
_WEBHOOK: Record[NotifyTarget] = Record(
    "Posts a JSON document.",
    (_URL, _SECRET, _EVENTS, _CA, _TEMPLATE),
    lambda values: WebhookTarget(
        values[_URL], values[_EVENTS], values[_SECRET], values[_CA], values[_TEMPLATE]
    ),
)

_SLACK_URL = required("url", SECRET, "The incoming webhook, by reference: its address is a secret.")
_SLACK: Record[NotifyTarget] = Record(
    "Posts to an incoming webhook of Slack, Mattermost or what understands the same.",
    (_SLACK_URL, _EVENTS, _CA, _TEMPLATE),
    lambda values: SlackTarget(values[_SLACK_URL], values[_EVENTS], values[_CA], values[_TEMPLATE]),
)

_SERVER = required(
    "server", matching(r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?$", "a host"), "Its host."
)
_PORT = defaulted("port", Integer(1, 65535), "Its port.", 587)
_SECURITY = defaulted("security", Choice(MailSecurity), "How it is encrypted.", "starttls")
_FROM = required("from", _ADDRESS, "Who it is from.")
_TO = required("to", List(_ADDRESS, "addresses"), "Who gets it.")
_USERNAME = required("username", SECRET, "The user, by reference.")
_PASSWORD = required("password", SECRET, "The password, by reference.")
_LOGIN = optional(
    "login",
    Record(
        "How to log in. Refused over a connection that is not encrypted.",
        (_USERNAME, _PASSWORD),
        lambda values: Login(values[_USERNAME], values[_PASSWORD]),
    ),
    "How to log in; not at all where it is left out.",
)

_EMAIL: Record[NotifyTarget] = Record(
    "Sends a mail.",
    (_SERVER, _PORT, _SECURITY, _FROM, _TO, _LOGIN, _EVENTS, _CA, _TEMPLATE),
    lambda values: EmailTarget(
        *(values[_SERVER], values[_PORT], values[_SECURITY], values[_FROM], values[_TO]),
        *(values[_EVENTS], values[_LOGIN], values[_CA], values[_TEMPLATE]),
    ),
)

NOTIFY_TYPES: Mapping[str, Record[NotifyTarget]] = MappingProxyType(
    {"webhook": _WEBHOOK, "slack": _SLACK, "email": _EMAIL}
)
"""What can be written under ``notify``, by the word in ``type``."""

NAME = matching(r"^[a-z](-?[a-z0-9]){0,40}$", "a name", "small letters, digits and hyphens")
"""How a target is called."""
