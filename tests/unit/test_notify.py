"""Notices: to a real web server and a real mail server, also where these do not behave."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from support.examples import NOW
from support.postbox import Mailbox, Postbox, certified, mailbox, postbox
from support.projects import new_project, release

from imagectl.adapters.notify import TargetSender
from imagectl.adapters.notify.sending import SIGNATURE
from imagectl.bootstrap.project import Project, open_project
from imagectl.errors import BadInput, CannotTell, Failed, ImagectlError, NotFound
from imagectl.formats.notice_template import BadTemplate, check_template, render_notice
from imagectl.formats.project_yaml import parse_project
from imagectl.model.image import SecretKind, SecretRef
from imagectl.model.notice import (
    EVENTS,
    EmailTarget,
    Happened,
    Login,
    MailSecurity,
    Notice,
    SlackTarget,
    Subject,
    WebhookTarget,
)

Run = Callable[..., Result]
NEW = "debian-base@20261120.1"
KEY = SecretRef(SecretKind.ENV, "HOOK_KEY")
NOTICE = Notice(
    "id-7-promoted",
    Happened.PROMOTED,
    7,
    NOW,
    "ana",
    "Debian 12.9",
    (Subject("ci", "stable", "20261120.1", "ci:stable", "promoted to 20261120.1"),),
)


@pytest.fixture
def sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TargetSender:
    monkeypatch.setenv("HOOK_KEY", "open sesame")
    return TargetSender(tmp_path, patience=60, timeout=20)


@pytest.fixture
def box() -> Iterator[Postbox]:
    with postbox() as made:
        yield made


def hook(box: Postbox, **changes: object) -> WebhookTarget:
    target = WebhookTarget(box.url(), EVENTS, KEY, None, None)
    return replace(target, **changes)  # type: ignore[arg-type]  # as the tests say


def mail(box: Mailbox, **changes: object) -> EmailTarget:
    target = EmailTarget(
        server="127.0.0.1",
        port=box.port,
        security=MailSecurity.NONE,
        sender="imagectl@acme.example",
        to=("team@acme.example", "ci@acme.example"),
        events=EVENTS,
        login=None,
        ca=None,
        template=None,
    )
    return replace(target, **changes)  # type: ignore[arg-type]  # as the tests say


# --- webhooks ---


def test_a_webhook_gets_a_signed_document(box: Postbox, sender: TargetSender) -> None:
    sender.send("hook", hook(box), NOTICE)
    (posted,) = box.posted
    said = json.loads(posted.body)
    assert (said["format"], said["event"], said["by"]) == ("imagectl-notice-1", "promoted", "ana")
    assert said["subjects"][0]["of"] == "ci:stable"
    assert "ci:stable promoted to 20261120.1" in said["text"]
    expected = hmac.new(b"open sesame", posted.body, hashlib.sha256).hexdigest()
    assert posted.headers[SIGNATURE] == f"sha256={expected}"
    assert posted.headers["Idempotency-Key"] == NOTICE.id


def test_without_a_secret_nothing_is_signed(box: Postbox, sender: TargetSender) -> None:
    sender.send("hook", hook(box, secret=None), NOTICE)
    assert SIGNATURE not in box.posted[0].headers


def test_what_passes_is_tried_again_under_the_same_id(box: Postbox, sender: TargetSender) -> None:
    box.answers += [500, 503]
    sender.send("hook", hook(box), NOTICE)
    assert [each.headers["Idempotency-Key"] for each in box.posted] == [NOTICE.id] * 3
    assert len({each.body for each in box.posted}) == 1


@pytest.mark.parametrize(("status", "times"), [(500, 3), (404, 1), (301, 1), (307, 1)])
def test_what_is_refused_is_not_tried_for_ever(
    box: Postbox, sender: TargetSender, status: int, times: int
) -> None:
    box.answers += [status] * 9
    with pytest.raises(Failed, match=f"answered {status}"):
        sender.send("hook", hook(box), NOTICE)
    assert [each.path for each in box.posted] == ["/hook"] * times


def test_who_says_nothing_is_not_waited_for(box: Postbox, sender: TargetSender) -> None:
    box.slow = 600
    with pytest.raises(Failed, match=r"not answered for 0\.5 s"):
        replace(sender, timeout=0.5).send("hook", hook(box), NOTICE)


def test_who_says_a_byte_now_and_then_is_not_waited_for(box: Postbox, sender: TargetSender) -> None:
    """No time limit of a socket sees that."""
    box.slow = 0.1
    hurried = replace(sender, patience=2)
    with pytest.raises(CannotTell, match="not known after 2 s"):
        hurried.send("hook", hook(box), NOTICE)


def test_where_nobody_listens(sender: TargetSender) -> None:
    with postbox() as box:
        target = hook(box, url=box.url("/secret-path"))
    with pytest.raises(Failed, match="no connection") as failed:
        sender.send("hook", target, NOTICE)
    assert "secret-path" not in str(failed.value.what + failed.value.why + failed.value.hint)


def test_a_certificate_that_nobody_trusts(tmp_path: Path, sender: TargetSender) -> None:
    context, certificate = certified(tmp_path)
    with postbox(context) as box:
        with pytest.raises(Failed, match="certificate"):
            sender.send("hook", hook(box), NOTICE)
        assert box.posted == []
        sender.send("hook", hook(box, ca=Path(certificate.name)), NOTICE)
        assert len(box.posted) == 1


def test_a_secret_that_is_not_set(
    box: Postbox, sender: TargetSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK_KEY")
    with pytest.raises(NotFound):
        sender.send("hook", hook(box), NOTICE)


def test_slack_gets_a_text(
    box: Postbox, sender: TargetSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLACK", box.url("/services/T0/B0/x"))
    url = SecretRef(SecretKind.ENV, "SLACK")
    sender.send("chat", SlackTarget(url, EVENTS, None, "*{{ event }}* by {{ by }}"), NOTICE)
    assert json.loads(box.posted[0].body) == {"text": "*promoted* by ana"}


def test_a_reason_is_no_markup_in_slack(
    box: Postbox, sender: TargetSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would call everybody, or hide where a link leads; a template may, on purpose."""
    monkeypatch.setenv("SLACK", box.url("/services/T0/B0/x"))
    reason = "<!channel> <https://evil.example|click & log in>"
    subject = Subject("ci", "stable", "20261120.1", "ci:stable", "moved <!here>")
    notice = replace(NOTICE, by="<@U1>", reason=reason, subjects=(subject,))
    url = SecretRef(SecretKind.ENV, "SLACK")
    for template in ("<!here> {{ text }} {{ by }} {{ reason }}", None):
        sender.send("chat", SlackTarget(url, EVENTS, None, template), notice)
    mine, usual = (json.loads(each.body)["text"] for each in box.posted)
    assert mine.startswith("<!here> ")
    said = mine.removeprefix("<!here> ") + usual
    assert "<" not in said
    assert "&lt;!channel&gt; &lt;https://evil.example|click &amp; log in&gt;" in said


# --- mail ---


def test_a_mail_says_what_happened(sender: TargetSender) -> None:
    with mailbox() as box:
        sender.send("mail", mail(box), NOTICE)
    (got,) = box.mails
    assert got["Subject"] == "[imagectl] promoted: ci:stable"
    assert got["To"] == "team@acme.example, ci@acme.example"
    assert got["Message-ID"] == f"<{NOTICE.id}@acme.example>"
    assert "ci:stable promoted to 20261120.1" in str(got.get_payload())


def test_a_mail_server_that_is_busy_is_asked_again(sender: TargetSender) -> None:
    with mailbox() as box:
        box.answers.append("451 try again")
        sender.send("mail", mail(box), NOTICE)
        assert len(box.mails) == 1
        box.answers.append("550 no")
        with pytest.raises(Failed, match="answered 550"):
            sender.send("mail", mail(box), NOTICE)


def test_no_password_goes_over_an_open_line(sender: TargetSender) -> None:
    with mailbox() as box:
        with pytest.raises(Failed, match="unencrypted"):
            sender.send("mail", mail(box, login=Login(KEY, KEY)), NOTICE)
        assert (box.logins, box.mails) == ([], [])


def test_a_mail_server_that_says_nothing(sender: TargetSender) -> None:
    with mailbox() as box:
        box.slow = 0.9
        with pytest.raises((Failed, CannotTell)):
            replace(sender, patience=1.5, timeout=0.5).send("mail", mail(box), NOTICE)


def test_a_login_is_encrypted_and_the_server_known(tmp_path: Path, sender: TargetSender) -> None:
    context, certificate = certified(tmp_path)
    with mailbox(context) as box:
        target = mail(box, security=MailSecurity.STARTTLS, login=Login(KEY, KEY))
        with pytest.raises(Failed, match="certificate"):
            sender.send("mail", target, NOTICE)
        assert box.logins == []
        sender.send("mail", replace(target, ca=certificate.name), NOTICE)  # type: ignore[arg-type]
        assert (box.logins, len(box.mails)) == ([("open sesame", "open sesame")], 1)


# --- templates ---


@pytest.mark.parametrize(
    "text",
    [
        # First, what does no harm where it is not refused: nothing else tells that it was not.
        '{{ "a" ~ "b" }}',
        '{{ "x" * 1000000000 }}',
        "{{ 9 ** 999999999 }}",
        '{{ "%1000000000d" % 1 }}',
        '{{ "x".center(1000000000) }}',
        '{{ "{:1000000000}".format(1) }}',
        '{{ "x"|center(1000000000) }}',
        '{% set a = "xx" %}',
        "{% for i in range(99999) %}{{ i }}{% endfor %}",
        "{% for a in subjects %}{% for b in subjects %}{{ a.of }}{% endfor %}{% endfor %}",
        "{% macro a() %}{{ a() }}{% endmacro %}",
        '{% include "/etc/passwd" %}',
        "{{ subjects.__class__ }}{{ subjects[0] }}",
        "{{ text",
        "x" * 5000,
    ],
)
def test_what_a_template_may_not_have(text: str) -> None:
    with pytest.raises(BadTemplate):
        check_template(text)


def test_a_template_cannot_get_at_pythons_insides() -> None:
    with pytest.raises(BadTemplate):
        render_notice(NOTICE, "{{ subjects.__class__.__mro__ }}")


def test_what_a_template_makes_is_bounded() -> None:
    many = replace(
        NOTICE, subjects=tuple(replace(NOTICE.subjects[0], what="x" * 900) for _ in "x" * 50)
    )
    with pytest.raises(BadTemplate, match="more than 65536"):
        render_notice(many, "{% for s in subjects %}" + "{{ s.what }}" * 50 + "{% endfor %}")


def test_a_misspelt_name_is_an_error() -> None:
    with pytest.raises(BadTemplate, match="evnet"):
        render_notice(NOTICE, "{{ evnet }}")


# --- settings ---


@pytest.mark.parametrize(
    "text",
    [
        "a: {type: webhook}",
        "a: {type: pager, url: x}",
        "a: {type: slack, url: 'https://hooks.example/T0/B0'}",
        "a: {type: webhook, url: 'https://x.example', secret: hunter2}",
        "a: {type: webhook, url: 'https://x.example', events: [exploded]}",
        "a: {type: webhook, url: 'https://x.example', events: [test]}",
        "a: {type: webhook, url: 'https://x.example', template: '{{ 9 * 9 }}'}",
        "a: {type: email, server: s, from: a@b.example, to: []}",
        "a: {type: email, server: s, from: 'a@b.example\\r\\nBcc: x', to: [c@d.example]}",
        "a: {type: email, server: s, from: a@b.example, to: [c@d.example], "
        "login: {username: {env: U}}}",
    ],
)
def test_settings_that_are_not_taken(text: str) -> None:
    with pytest.raises(BadInput):
        parse_project(f"notify:\n  {text}\n".encode(), "imagectl.yaml")


# --- the outbox, and the verbs ---


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: Postbox) -> Iterator[Project]:
    """NEW is in beta; a webhook is told of everything."""
    made = new_project(tmp_path / "images")
    release(made, NEW)
    made.close()
    settings = made.root / "imagectl.yaml"
    section = (
        f"\nnotify:\n  hook: {{type: webhook, url: '{box.url()}', secret: {{env: HOOK_KEY}}}}\n"
    )
    settings.write_text(settings.read_text() + section)
    monkeypatch.setenv("HOOK_KEY", "open sesame")
    monkeypatch.chdir(made.root)
    opened = open_project(made.root)
    yield opened
    opened.close()


def told(box: Postbox) -> list[str]:
    return [json.loads(each.body)["event"] for each in box.posted]


def test_what_a_verb_did_is_told(project: Project, box: Postbox, imagectl: Run) -> None:
    assert imagectl("promote", "stable", "--reason", "why not").exit_code == 0
    assert told(box) == ["promoted"]
    assert json.loads(box.posted[0].body)["reason"] == "why not"
    assert imagectl("list").exit_code == 0
    assert told(box) == ["promoted"]
    assert imagectl("revoke", NEW, "--reason", "a hole", "--even-if-released").exit_code == 0
    assert imagectl("restore", NEW, "--reason", "none").exit_code == 0
    assert imagectl("announce", "deprecate", NEW, "--in", "9d", "--reason", "x").exit_code == 0
    assert imagectl("announce", "withdraw", NEW, "--reason", "x").exit_code == 0
    assert told(box) == ["promoted", "revoked", "restored", "announced", "withdrawn"]
    ids = [each.headers["Idempotency-Key"] for each in box.posted]
    assert len(set(ids)) == len(ids)


def test_a_notice_that_fails_fails_nothing_and_is_sent_later(
    project: Project, box: Postbox, imagectl: Run
) -> None:
    box.answers += [404]
    result = imagectl("promote", "stable")
    assert result.exit_code == 0
    assert "hook was not told (it answered 404)" in " ".join(result.stderr.split())
    assert "404" in imagectl("notify", "list").stdout
    assert len(box.posted) == 1  # not at once by the next verb, which nobody would wait for
    assert imagectl("notify", "retry").exit_code == 0
    assert told(box) == ["promoted", "promoted"]
    assert box.posted[0].headers["Idempotency-Key"] == box.posted[1].headers["Idempotency-Key"]
    assert imagectl("notify", "retry").exit_code == 0
    assert len(box.posted) == 2


def test_what_a_killed_process_did_not_tell_the_next_one_tells(
    project: Project, box: Postbox, imagectl: Run
) -> None:
    """Both before and after the outbox knows of it."""
    assert imagectl("notify", "retry").exit_code == 0
    settings = project.root / "imagectl.yaml"
    whole = settings.read_text()
    settings.write_text(whole[: whole.index("\nnotify:")])
    assert imagectl("promote", "stable").exit_code == 0
    settings.write_text(whole)
    assert told(box) == []
    assert imagectl("verify").exit_code in (0, 3)
    assert told(box) == ["promoted"]


def test_an_outbox_that_cannot_be_read_fails_no_release(
    project: Project, box: Postbox, imagectl: Run
) -> None:
    (project.state / "notices.json").write_text("[]")
    result = imagectl("promote", "stable")
    assert result.exit_code == 0
    assert "notices were not sent" in result.stderr
    assert imagectl("notify", "retry").exit_code == 5


def test_a_target_can_be_tried(project: Project, box: Postbox, imagectl: Run) -> None:
    assert imagectl("notify", "test").exit_code == 0
    assert told(box) == ["test"]
    box.answers += [404]
    failed = imagectl("notify", "test", "hook")
    assert failed.exit_code == 1
    assert "404" in failed.stderr
    assert imagectl("notify", "test", "pager").exit_code == 6


def test_every_error_of_sending_is_ours(box: Postbox, sender: TargetSender) -> None:
    with pytest.raises(ImagectlError):
        sender.send("hook", hook(box, url="http://[::1"), NOTICE)
