"""Runs of pytest in forks prove what runs of their own would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from support.processes import ends

TESTS = Path(__file__).parents[1]
SCRIPT = """
import json, sys
from pathlib import Path
from support.forked import Warm

copy = Path(sys.argv[1])
warm = Warm(copy, ("imagectl",), ["tests"])

def run(test, seconds=60):
    forked = warm.start(copy, [f"tests/test_{test}.py"])
    return forked.wait(seconds), forked.failed()

said = {"as it is": run("value")}
(copy / "imagectl/__init__.py").write_text("VALUE = 2\\n")
said["changed"] = run("value")
(copy / "imagectl/__init__.py").write_text("VALUE = 1\\n")
said["changed back"] = run("value")
said["from elsewhere"] = run("elsewhere")
said["endless"] = run("endless", 5)
print(json.dumps(said))
"""
FILES = {
    "imagectl/__init__.py": "VALUE = 1\n",
    "tests/test_value.py": "import imagectl\ndef test_it(): assert imagectl.VALUE == 1\n",
    "tests/test_elsewhere.py": """
import sys
def test_it():
    sys.path.insert(0, "../elsewhere")
    import imagectl
    assert imagectl.VALUE == 3
""",
    "elsewhere/imagectl/__init__.py": "VALUE = 3\n",
    "tests/test_endless.py": """
import subprocess
def test_it():
    child = subprocess.Popen(["sleep", "600"])
    open("child", "w").write(str(child.pid))
    child.wait()
""",
}


def test_a_fork_sees_what_is_in_the_copy_and_leaves_nothing_behind(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name, text in FILES.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(text)
    (copy / "elsewhere").rename(tmp_path / "elsewhere")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, copy],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert json.loads(done.stdout) == {
        "as it is": [0, []],
        "changed": [1, ["tests/test_value.py::test_it"]],
        "changed back": [0, []],
        "from elsewhere": [99, []],
        "endless": [None, []],
    }
    assert ends(int((copy / "child").read_text()))
