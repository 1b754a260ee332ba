"""What the incidents share: the real command line."""

from support.cli import imagectl

__all__ = ["imagectl"]
