"""Sends one notice to one target: a webhook, Slack or a mail server.

Promises: each takes ``PATIENCE`` at most, whatever the other side does; what may work the next
moment is tried again with a growing pause (stamina) as long as that allows; a redirect is refused,
since a body that is signed for one address is not for another; certificates are always checked; and
no error names an address that is a secret. A notice may arrive twice: its id, the header
``Idempotency-Key`` and the mail's Message-ID, is the same then.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import smtplib
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path, PurePosixPath

from imagectl.adapters.notify.outbox import notice_document
from imagectl.adapters.secrets import read_secret
from imagectl.errors import CannotTell, Failed, ImagectlError
from imagectl.formats.notice_template import BadTemplate, render_notice
from imagectl.model.image import SecretRef
from imagectl.model.notice import (
    EmailTarget,
    MailSecurity,
    Notice,
    NotifyTarget,
    SlackTarget,
    Subject,
    WebhookTarget,
)

PATIENCE = 15.0
"""Seconds that one target may take for one notice, tries and pauses included."""

TIMEOUT = 5.0
"""Seconds for each step of a connection."""

SIGNATURE = "X-Imagectl-Signature"
"""``sha256=`` and the HMAC-SHA256 of the body, in hexadecimal digits."""


class _Passing(Exception):
    """What may be over the next moment. The message has no address in it."""


@dataclass(frozen=True, slots=True)
class TargetSender:
    """Implements ``services.notify.Sender``. Paths of secrets and certificates begin at *root*."""

    root: Path
    patience: float = PATIENCE
    timeout: float = TIMEOUT

    def send(self, name: str, target: NotifyTarget, notice: Notice) -> None:
        """See there. Raises Failed and CannotTell, and NotFound where a secret is missing."""
        said = _for_slack(notice) if isinstance(target, SlackTarget) else notice
        try:
            text = render_notice(said, target.template)
        except BadTemplate as problem:
            raise Failed(f"the template of {name} cannot be used", why=str(problem)) from None
        match target:
            case WebhookTarget():
                once = self._webhook(target, notice, text)
            case SlackTarget():
                body = json.dumps({"text": text}).encode()
                once = self._post(read_secret(target.url, self.root), body, {}, target.ca, notice)
            case EmailTarget():
                once = self._mail(target, notice, text)
        self._in_time(lambda: self._again_and_again(once))

    def _webhook(self, target: WebhookTarget, notice: Notice, text: str) -> Callable[[], None]:
        url = target.url
        if isinstance(url, SecretRef):
            url = read_secret(url, self.root)
        said = {"format": "imagectl-notice-1", **notice_document(notice), "text": text}
        body = json.dumps(said, sort_keys=True).encode()
        headers = {"X-Imagectl-Event": notice.event.value}
        if target.secret is not None:
            headers[SIGNATURE] = signature(body, read_secret(target.secret, self.root))
        return self._post(url, body, headers, target.ca, notice)

    def _post(
        self,
        url: str,
        body: bytes,
        headers: dict[str, str],
        ca: PurePosixPath | None,
        notice: Notice,
    ) -> Callable[[], None]:
        said = {
            "Content-Type": "application/json",
            "User-Agent": "imagectl",
            "Idempotency-Key": notice.id,
            **headers,
        }

        def once() -> None:
            import requests

            with requests.Session() as session:
                # Neither a proxy's, nor a .netrc's idea of who is asked, nor of whom is trusted.
                session.trust_env = False
                try:
                    with session.post(
                        url,
                        data=body,
                        headers=said,
                        timeout=self.timeout,
                        allow_redirects=False,
                        verify=True if ca is None else str(self.root / ca),
                        stream=True,
                    ) as answer:
                        _check_status(answer.status_code)
                except requests.exceptions.SSLError:
                    raise Failed(
                        "its certificate is not one that is trusted here",
                        hint="`ca` of the target names a file of certificates that count",
                    ) from None
                except requests.Timeout:
                    raise _Passing(f"it has not answered for {self.timeout:g} s") from None
                except requests.ConnectionError:
                    raise _Passing("no connection, or it ended too early") from None
                except (requests.RequestException, OSError, ValueError) as problem:
                    raise Failed("it cannot be asked", why=type(problem).__name__) from None

        return once

    def _mail(self, target: EmailTarget, notice: Notice, text: str) -> Callable[[], None]:
        message = EmailMessage()
        message["From"] = target.sender
        message["To"] = ", ".join(target.to)
        message["Date"] = format_datetime(notice.at)
        message["Message-ID"] = f"<{notice.id}@{target.sender.rpartition('@')[2]}>"
        message["Subject"] = _subject(notice)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        login: tuple[str, str] | None = None
        if target.login is not None:
            if target.security is MailSecurity.NONE:
                raise Failed(
                    "its password would be sent unencrypted",
                    hint="`security: starttls` or `security: tls` of the target",
                )
            login = (
                read_secret(target.login.username, self.root),
                read_secret(target.login.password, self.root),
            )

        def once() -> None:
            try:
                self._deliver(target, message, login)
            except ssl.SSLError:
                raise Failed(
                    "its certificate is not one that is trusted here",
                    hint="`ca` of the target names a file of certificates that count",
                ) from None
            except smtplib.SMTPResponseException as problem:
                if 400 <= problem.smtp_code < 500:
                    raise _Passing(f"it answered {problem.smtp_code}") from None
                raise Failed(f"it answered {problem.smtp_code}") from None
            except smtplib.SMTPRecipientsRefused as problem:
                codes = sorted({code for code, _ in problem.recipients.values()})
                raise Failed(f"it refuses who should get it: {codes}") from None
            except smtplib.SMTPServerDisconnected:
                raise _Passing("the connection ended too early") from None
            except smtplib.SMTPException as problem:
                raise Failed("it cannot take mail as asked", why=str(problem)) from None
            except TimeoutError:
                raise _Passing(f"it has not answered for {self.timeout:g} s") from None
            except OSError as problem:
                raise _Passing(problem.strerror or "no connection") from None

        return once

    def _deliver(
        self, target: EmailTarget, message: EmailMessage, login: tuple[str, str] | None
    ) -> None:
        trusted = ssl.create_default_context(
            cafile=None if target.ca is None else str(self.root / target.ca)
        )
        connection: smtplib.SMTP
        if target.security is MailSecurity.TLS:
            connection = smtplib.SMTP_SSL(
                target.server, target.port, timeout=self.timeout, context=trusted
            )
        else:
            connection = smtplib.SMTP(target.server, target.port, timeout=self.timeout)
        with connection:
            if target.security is MailSecurity.STARTTLS:
                connection.starttls(context=trusted)
            if login is not None:
                connection.login(*login)
            refused = connection.send_message(message)
            if refused:
                raise smtplib.SMTPRecipientsRefused(refused)

    def _again_and_again(self, once: Callable[[], None]) -> None:
        import stamina
        import stamina.instrumentation

        stamina.instrumentation.set_on_retry_hooks(())
        try:
            for attempt in stamina.retry_context(
                on=_Passing, attempts=3, timeout=self.patience / 2, wait_initial=0.2, wait_max=2
            ):
                with attempt:
                    once()
        except _Passing as problem:
            raise Failed(str(problem)) from None

    def _in_time(self, work: Callable[[], None]) -> None:
        """Do it in a thread that is left behind where it takes too long: a server that sends a
        byte now and then would be waited for by any time limit of a socket."""
        problems: list[BaseException] = []
        done = threading.Event()

        def run() -> None:
            try:
                work()
            except BaseException as problem:  # handed over to who waits
                problems.append(problem)
            finally:
                done.set()

        threading.Thread(target=run, daemon=True, name="notice").start()
        if not done.wait(self.patience):
            raise CannotTell(f"whether it has arrived is not known after {self.patience:g} s")
        for problem in problems:
            if isinstance(problem, ImagectlError):
                raise problem
            raise Failed("it cannot be sent", why=type(problem).__name__) from None


def signature(body: bytes, secret: str) -> str:
    """What the header ``X-Imagectl-Signature`` says for that body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _check_status(status: int) -> None:
    if 200 <= status < 300:
        return
    if status >= 500 or status in (408, 425, 429):
        raise _Passing(f"it answered {status}")
    if 300 <= status < 400:
        raise Failed(f"it answered {status}: a redirect is not followed", hint="write its own URL")
    raise Failed(f"it answered {status}")


def _for_slack(notice: Notice) -> Notice:
    """The same, with nothing in it that Slack takes for markup: whoever gives a reason is not to
    call everybody (``<!channel>``), nor to hide where a link leads.

    Source: Slack, "Formatting text for app surfaces": ``&``, ``<`` and ``>`` are to be escaped.
    """

    def plain(text: str) -> str:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    subjects = [
        Subject(*(plain(each) for each in (it.image, it.channel, it.version, it.of, it.what)))
        for it in notice.subjects
    ]
    return replace(
        notice, by=plain(notice.by), reason=plain(notice.reason), subjects=tuple(subjects)
    )


def _subject(notice: Notice) -> str:
    first = notice.subjects[0].of if notice.subjects else ""
    more = len(notice.subjects) - 1
    text = f"[imagectl] {notice.event.value}: {first}{f' and {more} more' if more > 0 else ''}"
    return "".join(each for each in text if each.isprintable())
