"""What a promotion, a rollback or an arrival did, for people and as JSON. Shared by their verbs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

from imagectl.model.release import Verdict

if TYPE_CHECKING:
    from imagectl.model.release import Decision, Delivery
    from imagectl.services.release import Released


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


class Moved(TypedDict):
    """What a command did to a channel, or with `--dry-run` would do."""

    channel: Annotated[str, "the channel"]
    kind: Annotated[Literal["entry", "promote", "rollback"], "what kind of move"]
    dry_run: Annotated[bool, "true where nothing was changed on purpose"]
    reason: Annotated[str, "the reason given; may be empty"]
    generation: Annotated[int | None, "the catalog generation made; null where nothing changed"]
    decisions: Annotated[list[DecisionDocument], "one for each image considered"]


def moved_document(released: Released) -> Moved:
    """The document of what was done."""
    return Moved(
        channel=released.plan.channel,
        kind=released.plan.kind.value,
        dry_run=released.dry_run,
        reason=released.reason,
        generation=released.generation,
        decisions=[
            DecisionDocument(
                image=each.image,
                before=str(each.before) if each.before else None,
                to=str(each.to) if each.to else None,
                verdict=each.verdict.value,
                reasons=list(each.reasons),
                delivered=[
                    Delivered(
                        location=delivery.location,
                        format=delivery.format.value,
                        architecture=delivery.architecture.value,
                        reference=delivery.reference,
                        sha256=delivery.sha256,
                    )
                    for delivery in released.delivered.get(each.image, ())
                ],
            )
            for each in released.plan.decisions
        ],
    )


def moved_lines(released: Released, *, explain: bool) -> Iterator[str]:
    """What was done, image by image. *explain*: also why, for what moved or had nothing to do."""
    for each in released.plan.decisions:
        yield f"{each.image}:{each.channel}  {_what(each, released)}"
        if explain or each.verdict is Verdict.HELD_BACK:
            for reason in each.reasons:
                yield f"    - {reason}"
        if each.verdict is Verdict.MOVE:
            for delivery in released.delivered.get(each.image, ()):
                yield f"    consumers {_get(released)} {_named(delivery)}"
                yield f"      {delivery.reference}"
    if not released.plan.decisions:
        yield f"there is no image that {released.plan.channel} could be moved for"


def _what(decision: Decision, released: Released) -> str:
    if decision.verdict is Verdict.KEEP:
        return f"stays at {decision.before}" if decision.before else "stays as it is"
    if decision.verdict is Verdict.HELD_BACK:
        return f"held back at {decision.before or 'nothing'}"
    would = "would go " if released.dry_run else ""
    return f"{would}{decision.before or 'nothing'} -> {decision.to}"


def _get(released: Released) -> str:
    return "would get" if released.dry_run else "now get"


def _named(delivery: Delivery) -> str:
    return f"{delivery.format.value} {delivery.architecture.value} from {delivery.location}"
