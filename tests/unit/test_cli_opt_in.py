"""``imagectl resolve`` as consumers' repositories and CI systems use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.cli import Run, answer
from support.projects import CI, NEW, OLD, new_project, release, three_in_beta

from imagectl.bootstrap.project import Project
from imagectl.cli.documents import schema
from imagectl.cli.history import History
from imagectl.cli.output import Failure
from imagectl.cli.resolved import Matrix, Resolved, ResolvedImages

LOCKED = "locked.json"
TWO = "images:\n  debian-base: {channel: beta}\n  debian-ci: {channel: beta}\n"


@pytest.fixture
def project(project: Project) -> Project:
    """See ``support.projects.three_in_beta``."""
    return three_in_beta(project)


@pytest.fixture(autouse=True)
def no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests may run in a CI system themselves."""
    for name in ("GITHUB_REF_TYPE", "CI_COMMIT_TAG", "GITHUB_HEAD_REF", "GITHUB_REF_NAME"):
        monkeypatch.delenv(name, raising=False)


def write(text: str, path: str = ".imagectl.yaml") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def test_several_images_in_one_go(project: Project, imagectl: Run) -> None:
    write(TWO)
    said = answer(imagectl("resolve", "--json"), ResolvedImages)["images"]
    assert [(each["image"], each["channel"]) for each in said] == [
        ("debian-base", "beta"),
        ("debian-ci", "beta"),
    ]
    lines = imagectl("resolve", "debian-base:beta", "debian-ci:beta").stdout.splitlines()
    assert lines == [f"{each['image']}\t{each['reference']}" for each in said]


def test_a_list_of_one_image_is_still_answered_as_a_list(project: Project, imagectl: Run) -> None:
    write("images: {debian-base: {channel: beta}}")
    assert len(answer(imagectl("resolve", "--json"), ResolvedImages)["images"]) == 1
    assert answer(imagectl("resolve", "debian-base", "--json"), Resolved)["channel"] == "beta"


def test_every_image_that_cannot_be_had_is_named(project: Project, imagectl: Run) -> None:
    write("images:\n  debian-base: {channel: bta}\n  debian-ci: {channel: nightly}\n")
    result = imagectl("resolve")
    assert (result.exit_code, result.stdout) == (6, "")
    assert "debian-base has nothing in channel bta" in result.stderr
    assert "debian-ci has nothing in channel nightly" in result.stderr


@pytest.mark.parametrize(
    ("file", "text", "place"),
    [
        (".imagectl.yaml", "image: debian-base\nchannel: bta\n", ".imagectl.yaml:2:10"),
        (".imagectl.yaml", "image: debain-base\n", ".imagectl.yaml:1:8"),
        (".travis.yml", "imagectl:\n  image: debian-base\n  channel: bta\n", ".travis.yml:3:12"),
        (
            ".github/workflows/ci.yml",
            "env:\n  IMAGECTL_IMAGE: debian-base\n  IMAGECTL_CHANNEL: bta\n",
            ".github/workflows/ci.yml:3:21",
        ),
        (
            ".gitlab-ci.yml",
            "variables:\n  IMAGECTL_IMAGE: debian-base\n  IMAGECTL_CHANNEL: bta\n",
            ".gitlab-ci.yml:3:21",
        ),
    ],
)
def test_a_channel_that_is_not_there_is_an_error_with_its_line(
    project: Project, imagectl: Run, file: str, text: str, place: str
) -> None:
    write(text, file)
    result = imagectl("resolve", "--config", file)
    assert (result.exit_code, result.stdout) == (6, "")
    assert place in result.stderr


@pytest.mark.parametrize(
    ("file", "text", "place"),
    [
        (".imagectl.yaml", "image: debian-base\nchannel: beta\nlocation: {}\n", "3:11"),
        (
            ".gitlab-ci.yml",
            "variables:\n  IMAGECTL_IMAGE: debian-base\n  IMAGECTL_CHANNEL: beta\n"
            "  IMAGECTL_LOCATION: {}\n",
            "4:22",
        ),
    ],
)
def test_the_location_is_that_of_the_file(
    project: Project, imagectl: Run, file: str, text: str, place: str
) -> None:
    write(text.format("local"), file)
    said = answer(imagectl("resolve", "--config", file, "--json"), Resolved)
    assert said["location"] == "local"
    write(text.format("dc9"), file)
    result = imagectl("resolve", "--config", file, "--json")
    failure = answer(result, Failure)["error"]
    assert result.exit_code == 6
    assert "is not to be had with location dc9" in failure["what"]
    assert failure["where"] == f"{file}:{place}"
    result = imagectl("resolve", "--config", file, "--location", "local")
    assert result.exit_code == 0
    assert "the location is local, and not dc9 as the build config has" in result.stderr


def test_the_environment_says_what_is_wanted(
    project: Project, imagectl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGECTL_IMAGE", "debian-base")
    monkeypatch.setenv("IMAGECTL_CHANNEL", "beta")
    assert answer(imagectl("resolve", "--json"), Resolved)["channel"] == "beta"
    result = imagectl("resolve", f"{OLD}", "--json")
    assert answer(result, Resolved)["version"] == OLD.partition("@")[2]
    assert "warning: debian-base: version 20261118.1, as the command line says" in result.stderr
    monkeypatch.setenv("IMAGECTL_CHANNEL", "bta")
    assert "IMAGECTL_CHANNEL" in imagectl("resolve").stderr
    monkeypatch.delenv("IMAGECTL_CHANNEL")
    monkeypatch.setenv("IMAGECTL_CHANEL", "beta")
    assert imagectl("resolve").exit_code == 2


def test_the_branch_is_that_of_the_ci_service_or_of_git(
    project: Project, imagectl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("image: debian-base\nbranches: {next: beta}\n")
    result = imagectl("resolve")
    assert (result.exit_code, result.stdout) == (2, "")
    assert ".imagectl.yaml:2:1" in result.stderr
    write("ref: refs/heads/next\n", ".git/HEAD")
    assert imagectl("resolve").exit_code == 0
    write("1234567890\n", ".git/HEAD")
    assert "has no branch checked out" in imagectl("resolve").stderr
    monkeypatch.setenv("GITHUB_REF_NAME", "next")
    assert imagectl("resolve").exit_code == 0
    monkeypatch.setenv("GITHUB_REF_TYPE", "tag")
    assert "channel stable" in imagectl("resolve").stderr
    assert "channel stable" in imagectl("resolve", "--branch", "main").stderr


def test_a_build_config_says_where_the_catalog_is(
    project: Project, imagectl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its paths begin at the file, wherever imagectl runs."""
    public = project.root / "catalog" / "public"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "public").symlink_to(public)
    (tmp_path / "app" / "root.json").symlink_to(project.root / "catalog" / "root.json")
    write(
        "image: debian-base\nchannel: beta\ncatalog: public\nroot: root.json\n",
        "app/.imagectl.yaml",
    )
    assert imagectl("resolve", "--config", "app/.imagectl.yaml").exit_code == 0


def test_another_catalog_than_the_build_configs_is_said(
    project: Project, imagectl: Run, tmp_path: Path
) -> None:
    public = str(project.root / "catalog" / "public")
    root = str(project.root / "catalog" / "root.json")
    write(f"image: debian-base\nchannel: beta\ncatalog: {tmp_path}/x\nroot: {tmp_path}/y\n")
    result = imagectl("resolve", "--catalog", public, "--root", root)
    assert result.exit_code == 0
    assert f"the catalog is {public}, and not {tmp_path}/x" in result.stderr
    assert f"the root is {root}, and not {tmp_path}/y" in result.stderr
    write(f"image: debian-base\nchannel: beta\ncatalog: {public}\nroot: {root}\n")
    assert imagectl("resolve", "--catalog", public, "--root", root).stderr == ""


def test_a_catalog_that_is_older_than_it_has_to_be_is_not_believed(
    project: Project, imagectl: Run
) -> None:
    generation = project.catalog.snapshot().generation
    write(f"image: debian-base\nchannel: beta\nmin_generation: {generation}\n")
    assert imagectl("resolve").exit_code == 0
    write(f"image: debian-base\nchannel: beta\nmin_generation: {generation + 1}\n")
    result = imagectl("resolve")
    assert (result.exit_code, result.stdout) == (5, "")
    assert f"generation {generation}" in result.stderr


def test_a_matrix_of_both_channels_of_each_image(project: Project, imagectl: Run) -> None:
    imagectl("promote", "stable", OLD)
    write("images: {debian-base: {}, debian-ci: {channel: beta}}")
    result = imagectl("resolve", "--matrix", "--json")
    said = answer(result, Matrix)["jobs"]
    assert [(each["name"], each["own"], each["allowed_to_fail"]) for each in said] == [
        ("debian-base:stable", True, False),
        ("debian-base:beta", False, True),
        ("debian-ci:beta", True, True),
    ]
    assert "not in the matrix: debian-ci has nothing in channel stable" in result.stderr
    github = json.loads(imagectl("resolve", "--matrix", "github").stdout)
    assert github == {"include": said}
    assert imagectl("resolve", "--matrix", "github").stdout.count("\n") == 1
    gitlab = json.loads(imagectl("resolve", "--matrix", "gitlab").stdout)
    assert gitlab["debian-base:beta"]["allow_failure"] is True
    assert gitlab["debian-base:stable"]["variables"]["IMAGECTL_CHANNEL"] == "stable"
    assert set(gitlab) == {each["name"] for each in said}


def test_a_matrix_without_the_consumers_own_channel_is_an_error(
    project: Project, imagectl: Run
) -> None:
    write("image: debian-base\nchannel: nightly\n")
    result = imagectl("resolve", "--matrix", "github")
    assert (result.exit_code, result.stdout) == (6, "")
    assert ".imagectl.yaml:2:10" in result.stderr


def test_what_cannot_be_read_leaves_nothing_out_of_a_matrix(
    project: Project, imagectl: Run
) -> None:
    """Else a broken mirror would look like a channel that is not there, and all would pass."""
    imagectl("promote", "stable", OLD)
    write("image: debian-base")
    newest = answer(imagectl("resolve", NEW, "--json"), Resolved)["sha256"]
    for each in (project.root / "catalog" / "public" / "versions").rglob("*.json"):
        if newest in each.read_text():
            each.unlink()
    result = imagectl("resolve", "--matrix", "github")
    assert (result.exit_code, result.stdout) == (1, ""), result.stderr
    assert "versions/sha256/" in result.stderr


def test_what_a_channel_pointed_to_at_some_time(project: Project, imagectl: Run) -> None:
    moves = answer(imagectl("history", "beta", "--image", "debian-base", "--json"), History)
    first, last = moves["moves"][-1], moves["moves"][0]
    assert first["version"] != last["version"]

    def then(time: str) -> str:
        found = imagectl("resolve", "debian-base:beta", "--at", time, "--json")
        return str(answer(found, Resolved)["version"])

    assert then(last["at"]) == last["version"]
    assert imagectl("resolve", "debian-base:beta", "--at", "2020-01-01").exit_code == 6
    for wrong in ("2999-01-01", "yesterday", "2026-11-20T10:00:00"):
        assert imagectl("resolve", "debian-base:beta", "--at", wrong).exit_code == 2
    assert imagectl("resolve", OLD, "--at", "2026-11-20").exit_code == 2


def test_a_tree_alone_does_not_know_the_past(
    project: Project, imagectl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = project.root / "catalog" / "public"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGECTL_ROOT", str(project.root / "catalog" / "root.json"))
    result = imagectl("resolve", "debian-base:beta", "--at", "2026-11-20", "--catalog", str(public))
    assert (result.exit_code, result.stdout) == (5, "")
    assert "history" in result.stderr


def test_another_catalog_does_not_know_the_past(
    project: Project, imagectl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions of two catalogs may have the same names."""
    another = new_project(tmp_path / "another")
    release(another, OLD)
    another.close()
    monkeypatch.setenv("IMAGECTL_ROOT", str(another.root / "catalog" / "root.json"))
    public = str(another.root / "catalog" / "public")
    assert imagectl("resolve", "debian-base:beta", "--catalog", public).exit_code == 0
    result = imagectl("resolve", "debian-base:beta", "--at", "2026-11-20", "--catalog", public)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "that published catalog is not the project's" in result.stderr


def test_one_workflow_never_mixes_versions(project: Project, imagectl: Run) -> None:
    imagectl("promote", "stable", OLD)
    write("image: debian-base\n")
    first = imagectl("resolve", "--lock", LOCKED).stdout
    once = Path(LOCKED).read_bytes()
    assert imagectl("resolve", "--lock", LOCKED).stdout == first
    assert Path(LOCKED).read_bytes() == once
    assert not [each for each in Path().iterdir() if LOCKED in each.name and each.name != LOCKED]
    assert imagectl("promote", "stable", NEW).exit_code == 0
    assert imagectl("resolve").stdout != first
    assert imagectl("resolve", "--locked", LOCKED).stdout == first
    Path(".imagectl.yaml").unlink()
    assert imagectl("resolve", "--locked", LOCKED).stdout == first
    said = answer(imagectl("resolve", "--locked", LOCKED, "--json"), Resolved)
    assert (said["channel"], said["version"]) == ("stable", OLD.partition("@")[2])


@pytest.mark.parametrize(
    ("config", "flags", "said"),
    [
        ("image: debian-base\nchannel: beta\n", (), "channel stable was locked, and now it is ch"),
        ('image: debian-base\nversion: "20261118.1"\n', (), "now 20261118.1 is pinned"),
        ("image: debian-ci\n", (), "debian-ci is asked for (.imagectl.yaml:1:8), and was not"),
        ("image: debian-base\n", ("--format", "raw"), "format qcow2 was locked, and now it is raw"),
        ("image: debian-base\nmax_age: 1s\n", (), "max_age"),
    ],
)
def test_a_lock_does_not_hold_where_something_else_is_asked_for(
    project: Project, imagectl: Run, config: str, flags: tuple[str, ...], said: str
) -> None:
    imagectl("promote", "stable", OLD)
    imagectl("resolve", "debian-base", "--lock", LOCKED)
    write(config)
    result = imagectl("resolve", "--locked", LOCKED, *flags)
    assert (result.exit_code, result.stdout) == (3, "")
    assert said in result.stderr


def test_a_lock_does_not_hold_where_its_version_was_revoked(
    project: Project, imagectl: Run
) -> None:
    imagectl("promote", "stable", OLD)
    imagectl("resolve", "debian-base", "--lock", LOCKED)
    imagectl("promote", "stable", NEW)
    assert imagectl("revoke", OLD, "--reason", "bad key").exit_code == 0
    result = imagectl("resolve", "--locked", LOCKED)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "bad key" in result.stderr


def test_a_lock_that_cannot_be_written_is_an_error(project: Project, imagectl: Run) -> None:
    Path("file").write_text("")
    for place in ("file/locked.json", "."):
        result = imagectl("resolve", "debian-base:beta", "--lock", place)
        assert result.exit_code in (1, 2)
        assert result.stdout == ""


def changed(**new: object) -> None:
    content = json.loads(Path(LOCKED).read_text())
    content["catalog"].update({k: v for k, v in new.items() if k in content["catalog"]})
    inner = content["images"]["debian-base"]
    inner.update({k: v for k, v in new.items() if k in inner})
    Path(LOCKED).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("new", "code", "said"),
    [
        ({"id": "another"}, 5, "it was locked from another catalog"),
        ({"generation": 999999}, 5, "the catalog is older than the lock"),
        ({"sha256": "0" * 64}, 1, "is not what was locked"),
        ({"reference": "/elsewhere"}, 5, "is elsewhere by now"),
        ({"version": "20200101.1"}, 6, "there is no debian-base@20200101.1"),
        ({"version": "latest"}, 2, "'latest' is not a version"),
        ({"size": "big"}, 2, "'big' is not a whole number"),
        ({"location": "../x"}, 2, "is not a location name"),
    ],
)
def test_a_lock_of_something_else_is_not_used(
    project: Project, imagectl: Run, new: dict[str, object], code: int, said: str
) -> None:
    imagectl("resolve", "debian-base:beta", "--lock", LOCKED)
    changed(**new)
    result = imagectl("resolve", "--locked", LOCKED)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, 6),
        ("", 2),
        ("{}", 2),
        ("[" * 100_000, 2),
        ('{"format": "imagectl-resolved-2"}', 2),
        ('{"format": "imagectl-resolved-1", "format": "imagectl-resolved-1"}', 2),
        ("x" * (2 << 20), 2),
    ],
)
def test_a_lock_that_is_none_is_an_error(
    project: Project, imagectl: Run, text: str | None, code: int
) -> None:
    if text is not None:
        Path(LOCKED).write_text(text)
    result = imagectl("resolve", "--locked", LOCKED, "--json")
    assert result.exit_code == code
    answer(result, Failure)


@pytest.mark.parametrize(
    "flags",
    [
        ("--locked", "x", "--at", "2026-11-20"),
        ("--matrix", "json", "--lock", "x"),
        ("--locked", "x", "--lock", "y"),
        ("--matrix", "github", "--json"),
        ("--matrix", "jenkins"),
        ("--as", "env", "--json"),
        ("--as", "env", "--matrix", "github"),
    ],
)
def test_ways_that_do_not_go_together(
    project: Project, imagectl: Run, flags: tuple[str, ...]
) -> None:
    assert imagectl("resolve", "debian-base:beta", *flags).exit_code == 2


def test_the_answer_as_variables_and_as_strings(project: Project, imagectl: Run) -> None:
    whole = answer(imagectl("resolve", "debian-base:beta", "--json"), Resolved)
    lines = imagectl("resolve", "debian-base:beta", "--as", "env").stdout.splitlines()
    variables = dict(line.split("=", 1) for line in lines)
    assert variables["IMAGE_NAME"] == "debian-base"
    assert variables["IMAGE_REFERENCE"] == whole["reference"]
    assert variables["IMAGE_SHA256"] == whole["sha256"]
    strings = json.loads(imagectl("resolve", "debian-base:beta", "--as", "strings").stdout)
    assert strings == {
        name.removeprefix("IMAGE_").lower(): text for name, text in variables.items()
    }
    assert all(isinstance(each, str) for each in strings.values())
    write(TWO)
    both = imagectl("resolve", "--as", "env").stdout
    assert f"\nIMAGE_DEBIAN_CI_VERSION={CI.partition('@')[2]}\n" in both
    assert "debian-ci.reference" in json.loads(imagectl("resolve", "--as", "strings").stdout)
    pinned = imagectl("resolve", OLD, "--as", "env").stdout
    assert "\nIMAGE_CHANNEL=\n" in pinned


def test_the_variables_have_the_address_of_a_download(project: Project, imagectl: Run) -> None:
    line = "\nIMAGE_URL={}\n".format
    assert line("") in imagectl("resolve", "debian-base:beta", "--as", "env").stdout
    text = "locations: {local: {type: directory, path: art, url: https://cdn.example/art/}}\n"
    (project.root / "imagectl.yaml").write_text(f"catalog: {{publish: [catalog/public]}}\n{text}")
    assert imagectl("catalog", "publish").exit_code == 0
    whole = answer(imagectl("resolve", "debian-base:beta", "--json"), Resolved)
    assert whole["url"] is not None
    assert whole["url"].startswith("https://cdn.example/art/")
    assert line(whole["url"]) in imagectl("resolve", "debian-base:beta", "--as", "env").stdout
    strings = json.loads(imagectl("resolve", "debian-base:beta", "--as", "strings").stdout)
    assert strings["url"] == whole["url"]


def test_the_answers_are_documented() -> None:
    for answers in (ResolvedImages, Matrix):
        assert schema(answers)["type"] == "object"
