"""Times on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

import click


class Time(click.ParamType[datetime, object]):
    """``2026-11-20``, where that day begins in UTC, or ``2026-11-20T12:00:00Z``."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        text = str(value)
        try:
            found = datetime.fromisoformat(text)
            if found.tzinfo is None and len(text) <= len("2026-11-20"):
                found = found.replace(tzinfo=UTC)
            elif found.tzinfo is None:
                self.fail(f"{text!r} does not say its zone: put Z behind it for UTC", param, ctx)
            return found.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{text!r} is not a time such as 2026-11-20T12:00:00Z", param, ctx)


TIME = Time()
