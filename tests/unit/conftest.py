"""What the unit tests of the command line share."""

from support.cli import imagectl

__all__ = ["imagectl"]
