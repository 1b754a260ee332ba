from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from imagectl.adapters import testinfra
from imagectl.adapters.guest import Guest
from imagectl.errors import BadInput, Failed
from imagectl.model.proof import Outcome

# Text of a suite that is run by the adapter: the skip in it is what the report must show.
HERE = """
import pytest

def test_up(): print("it is up")

def test_down():
    left = 1
    assert left == 2, "one is not two"

@pytest.mark.skip(reason="not today")
def test_later(): pass
"""


def suite(folder: Path, text: str, name: str = "test_here.py") -> PurePosixPath:
    (folder / name).write_text(text)
    return PurePosixPath(name)


def some_guest(folder: Path) -> Guest:
    """These suites do not touch the guest, so none needs to be there."""
    config = folder / "ssh_config"
    config.touch()
    return Guest(1, config, folder / "console")


def test_the_report_holds_every_test(tmp_path: Path) -> None:
    seen: list[str] = []
    suites = [suite(tmp_path, HERE)]
    report = testinfra.run_suites(suites, tmp_path, some_guest(tmp_path), tmp_path, seen.append)
    assert [(each.suite, each.name, each.outcome) for each in report.results] == [
        ("test_here", "test_up", Outcome.PASSED),
        ("test_here", "test_down", Outcome.FAILED),
        ("test_here", "test_later", Outcome.SKIPPED),
    ]
    assert "it is up" in report.results[0].output
    assert "one is not two" in report.failures[0].said
    assert seen == [
        "test_here.py::test_up passed",
        "test_here.py::test_down failed",
        "test_here.py::test_later skipped",
    ]


def test_only_what_is_beside_a_suite_is_loaded_for_it(tmp_path: Path) -> None:
    """What is above is for the tests of the project's own code: it may need what is not there."""
    (tmp_path / "conftest.py").write_text("import no_such_module\n")
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "conftest.py").write_text(
        "import pytest\n@pytest.fixture\ndef given(): return 'beside it'\n"
    )
    (folder / "test_one.py").write_text("def test_it(given): assert given == 'beside it'\n")
    suites = [PurePosixPath("images/test_one.py")]
    testinfra.collect(suites, tmp_path, "debian")
    report = testinfra.run_suites(suites, tmp_path, some_guest(tmp_path), tmp_path, lambda _: None)
    assert [each.outcome for each in report.results] == [Outcome.PASSED]


def test_a_suite_that_skips_everything_proves_nothing(tmp_path: Path) -> None:
    text = "import pytest\n@pytest.mark.skip\ndef test_x(): pass\n"
    suites = [suite(tmp_path, HERE), suite(tmp_path, text, "test_idle.py")]
    with pytest.raises(Failed, match=r"test_idle\.py ran no test"):
        testinfra.run_suites(suites, tmp_path, some_guest(tmp_path), tmp_path, lambda _: None)


def test_a_suite_without_a_test_is_refused_beforehand(tmp_path: Path) -> None:
    suites = [suite(tmp_path, "def check_up(): pass\n")]
    with pytest.raises(BadInput) as caught:
        testinfra.collect(suites, tmp_path, "debian")
    assert "has no tests" in str(caught.value.problems[0])


def test_a_suite_that_cannot_be_imported_is_told(tmp_path: Path) -> None:
    suites = [
        suite(tmp_path, "import no_such_module\n"),
        suite(tmp_path, "def test_x(:\n", "test_syntax.py"),
    ]
    with pytest.raises(BadInput) as caught:
        testinfra.collect(suites, tmp_path, "debian")
    told = [str(problem) for problem in caught.value.problems]
    assert "No module named 'no_such_module'" in told[0]
    assert "SyntaxError" in told[1]


def test_names_are_those_of_the_suite(tmp_path: Path) -> None:
    """Testinfra's ``host`` puts the guest's address into each name; nobody wants to read that."""
    seen: list[str] = []
    text = (
        "import pytest\n"
        "@pytest.mark.parametrize('n', ['one', 'two'])\n"
        "def test_many(host, n): pass\n"
        "def test_single(host): pass\n"
    )
    suites = [suite(tmp_path, text)]
    report = testinfra.run_suites(suites, tmp_path, some_guest(tmp_path), tmp_path, seen.append)
    names = ["test_many[one]", "test_many[two]", "test_single"]
    assert [each.name for each in report.results] == names
    assert seen == [f"test_here.py::{name} passed" for name in names]


def test_good_suites_are_collected(tmp_path: Path) -> None:
    testinfra.collect([suite(tmp_path, HERE)], tmp_path, "debian")
