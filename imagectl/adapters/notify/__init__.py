"""Sends notices: webhooks, Slack and mail; and the outbox that remembers what was sent."""

from __future__ import annotations

from imagectl.adapters.notify.outbox import FileOutbox
from imagectl.adapters.notify.sending import TargetSender

__all__ = ["FileOutbox", "TargetSender"]
