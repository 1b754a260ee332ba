"""Fixtures that tests of several kinds share."""

from support.cli import imagectl

__all__ = ["imagectl"]
