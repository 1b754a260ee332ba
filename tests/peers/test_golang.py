"""A peer that does not end, when it should, hangs nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from peers import golang

SOURCE = """\
package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	fmt.Printf("{\\"pid\\": %d}\\n", os.Getpid())
	time.Sleep(time.Hour)
}
"""


def test_what_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golang, "END_SECONDS", 0.5)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = tmp_path / "restless"
    source.mkdir()
    (source / "main.go").write_text(SOURCE)
    with (
        pytest.raises(subprocess.TimeoutExpired),
        golang.running(source, tmp_path) as said,
    ):
        os.kill(said["pid"], 0)
    with pytest.raises(ProcessLookupError):
        os.kill(said["pid"], 0)
