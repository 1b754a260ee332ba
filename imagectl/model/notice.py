"""Notices to people and programs of what happened in the catalog, and where they go."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from imagectl.model.image import SecretRef


class Happened(enum.Enum):
    """What a notice is about, in the word that settings and bodies carry."""

    ANNOUNCED = "announced"
    WITHDRAWN = "withdrawn"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled-back"
    REVOKED = "revoked"
    RESTORED = "restored"
    CLEANED_UP = "cleaned-up"
    TEST = "test"
    """Nothing has happened: somebody wants to see whether notices arrive."""


EVENTS = tuple(each for each in Happened if each is not Happened.TEST)
"""Those that can be asked for."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing that it happened to: ``of`` is IMAGE, IMAGE:CHANNEL or IMAGE@VERSION, ``what`` says
    in words what became of it."""

    image: str
    channel: str
    version: str
    of: str
    what: str


@dataclass(frozen=True, slots=True)
class Notice:
    """What happened by one change of the catalog, or by the changes of one cleanup.

    ``id`` is the same each time this is sent: whoever gets it twice can tell.
    """

    id: str
    event: Happened
    generation: int
    at: datetime
    by: str
    reason: str
    subjects: tuple[Subject, ...]


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """POSTs a JSON body; ``secret`` signs it; ``ca`` is a file of certificates that count."""

    url: str | SecretRef
    events: tuple[Happened, ...]
    secret: SecretRef | None
    ca: PurePosixPath | None
    template: str | None


@dataclass(frozen=True, slots=True)
class SlackTarget:
    """POSTs to an incoming webhook of Slack, or of what understands the same. Its URL is a
    secret."""

    url: SecretRef
    events: tuple[Happened, ...]
    ca: PurePosixPath | None
    template: str | None


class MailSecurity(enum.Enum):
    """How the connection to a mail server is encrypted."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Login:
    """Who one is to a server."""

    username: SecretRef
    password: SecretRef


@dataclass(frozen=True, slots=True)
class EmailTarget:
    """Sends a mail by a server."""

    server: str
    port: int
    security: MailSecurity
    sender: str
    to: tuple[str, ...]
    events: tuple[Happened, ...]
    login: Login | None
    ca: PurePosixPath | None
    template: str | None


NotifyTarget = WebhookTarget | SlackTarget | EmailTarget
