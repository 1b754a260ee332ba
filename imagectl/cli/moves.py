"""What a promotion, a rollback or an arrival did, for people and as JSON. Shared by their verbs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

from imagectl.cli.text import stamp
from imagectl.formats.tuf_roles import channel_role
from imagectl.model.release import Verdict
from imagectl.policy.wording import listed, moment

if TYPE_CHECKING:
    from imagectl.bootstrap.project import Project
    from imagectl.cli.invocation import Invocation
    from imagectl.cli.output import Output
    from imagectl.model.release import Decision, Delivery
    from imagectl.services.announce import Announced
    from imagectl.services.release import Released
    from imagectl.services.releasing import Releasing
    from imagectl.services.show import Behind


def watched(invocation: Invocation, project: Project) -> Releasing:
    """What a release needs, for a command that somebody waits for: locations that do not answer are
    named, and are not asked for long."""
    from dataclasses import replace

    from imagectl.services.live import LIVE_PATIENCE

    project.patience = LIVE_PATIENCE
    return replace(
        project.releasing,
        waiting=lambda names: invocation.out.say(f"waiting for {listed(names)} to answer"),
    )


class Delivered(TypedDict):
    """What consumers of a channel get at one location."""

    location: Annotated[str, "the location"]
    format: Annotated[str, "the format"]
    architecture: Annotated[str, "the architecture"]
    reference: Annotated[str, "what they pull"]
    sha256: Annotated[str, "its digest"]


class DecisionDocument(TypedDict):
    """What happens to one image's channel, and why."""

    image: Annotated[str, "the image"]
    before: Annotated[str | None, "what the channel pointed to; null where nothing"]
    to: Annotated[str | None, "the version considered; null where there is none"]
    verdict: Annotated[
        Literal["move", "keep", "held-back"], "`keep`: nothing to do; `held-back`: a rule is unmet"
    ]
    reasons: Annotated[list[str], "why; for `held-back` every unmet rule"]
    delivered: Annotated[list[Delivered], "for `move`: what consumers get from then on"]


class BehindDocument(TypedDict):
    """A location whose own pointers (families) may still show what channels have left."""

    location: Annotated[str, "the location"]
    image: Annotated[str, "the image"]
    required: Annotated[bool, "whether a channel of the image requires that location"]
    what: Annotated[str, "what went wrong"]
    why: Annotated[str, "may be empty"]
    hint: Annotated[str, "the next thing to type; may be empty"]


class Moved(TypedDict):
    """What a command did to a channel, or with `--dry-run` would do."""

    channel: Annotated[str, "the channel"]
    kind: Annotated[Literal["entry", "promote", "rollback"], "what kind of move"]
    dry_run: Annotated[bool, "true where nothing was changed on purpose"]
    due: Annotated[str | None, "`--announce-in`: when it may move; null where it moves at once"]
    reason: Annotated[str, "the reason given; may be empty"]
    generation: Annotated[int | None, "the catalog generation made; null where nothing changed"]
    decisions: Annotated[list[DecisionDocument], "one for each image considered"]
    behind: Annotated[list[BehindDocument], "whose own pointers (families) may not show it yet"]
    waits_for_signatures: Annotated[bool, "whether consumers see it only once people have signed"]


def moved_document(released: Released, waiting: Collection[str]) -> Moved:
    """The document of what was done. *waiting*: the roles whose content waits for signatures."""
    return Moved(
        channel=released.plan.channel,
        kind=released.plan.kind.value,
        dry_run=released.dry_run,
        due=None,
        reason=released.reason,
        generation=released.generation,
        decisions=[
            _decision(each, released.delivered.get(each.image, ()))
            for each in released.plan.decisions
        ],
        behind=behind_document(released.behind),
        waits_for_signatures=_waits(released, waiting),
    )


def announced_document(announced: Announced) -> Moved:
    """The document of what was announced."""
    return Moved(
        channel=announced.plan.channel,
        kind=announced.plan.kind.value,
        dry_run=announced.dry_run,
        due=stamp(announced.due),
        reason=announced.reason,
        generation=announced.generation,
        decisions=[_decision(each, ()) for each in announced.plan.decisions],
        behind=[],
        waits_for_signatures=False,
    )


def _decision(decision: Decision, delivered: Sequence[Delivery]) -> DecisionDocument:
    return DecisionDocument(
        image=decision.image,
        before=str(decision.before) if decision.before else None,
        to=str(decision.to) if decision.to else None,
        verdict=decision.verdict.value,
        reasons=list(decision.reasons),
        delivered=[
            Delivered(
                location=each.location,
                format=each.format.value,
                architecture=each.architecture.value,
                reference=each.reference,
                sha256=each.sha256,
            )
            for each in delivered
        ],
    )


def behind_document(behind: Sequence[Behind]) -> list[BehindDocument]:
    """The document of what could not be shown."""
    return [
        BehindDocument(
            location=each.location,
            image=each.image,
            required=each.required,
            what=each.error.what,
            why=each.error.why,
            hint=each.error.hint,
        )
        for each in behind
    ]


def tell_behind(out: Output, behind: Sequence[Behind]) -> None:
    """Say which locations' own pointers may be wrong now, why, and what to type."""
    from imagectl.services.show import PUBLISH

    for location in dict.fromkeys(each.location for each in behind):
        those = [each for each in behind if each.location == location]
        images = listed(dict.fromkeys(each.image for each in those))
        out.warn(f"families of {images} in {location} may not show what channels have; {PUBLISH}")
        for error in {id(each.error): each.error for each in those}.values():
            out.tell_error(error)


def moved_lines(
    released: Released, *, explain: bool, waiting: Collection[str] = ()
) -> Iterator[str]:
    """What was done, image by image. *explain*: also why, for what moved or had nothing to do.
    *waiting*: the roles that consumers see only once people have signed."""
    get = _get(released, waiting)
    for each in released.plan.decisions:
        yield f"{each.image}:{each.channel}  {_what(each, released)}"
        if explain or each.verdict is Verdict.HELD_BACK:
            for reason in each.reasons:
                yield f"    - {reason}"
        if each.verdict is Verdict.MOVE:
            for delivery in released.delivered.get(each.image, ()):
                yield f"    consumers {get} {_named(delivery)}"
                yield f"      {delivery.reference}"
    if not released.plan.decisions:
        yield f"there is no image that {released.plan.channel} could be moved for"


def announced_lines(announced: Announced, *, explain: bool) -> Iterator[str]:
    """What was announced, image by image. *explain*: also why, for what can move."""
    would = "would be announced for" if announced.dry_run else "announced for"
    for each in announced.plan.decisions:
        what = _stays(each)
        if what is None:
            what = f"{each.before or 'nothing'} -> {each.to}  {would} {moment(announced.due)}"
        yield f"{each.image}:{each.channel}  {what}"
        if explain or each.verdict is Verdict.HELD_BACK:
            for reason in each.reasons:
                yield f"    - {reason}"


def _what(decision: Decision, released: Released) -> str:
    if (stays := _stays(decision)) is not None:
        return stays
    would = "would go " if released.dry_run else ""
    return f"{would}{decision.before or 'nothing'} -> {decision.to}"


def _stays(decision: Decision) -> str | None:
    """How it does not move; None where it does."""
    if decision.verdict is Verdict.KEEP:
        return f"stays at {decision.before}" if decision.before else "stays as it is"
    if decision.verdict is Verdict.HELD_BACK:
        return f"held back at {decision.before or 'nothing'}"
    return None


def _get(released: Released, waiting: Collection[str]) -> str:
    if released.dry_run:
        return "would get"
    return "get, once it is signed," if _waits(released, waiting) else "now get"


def _waits(released: Released, waiting: Collection[str]) -> bool:
    return not released.dry_run and channel_role(released.plan.channel) in waiting


def _named(delivery: Delivery) -> str:
    return f"{delivery.format.value} {delivery.architecture.value} from {delivery.location}"
