"""A project on disk: finding it, reading all of it, and every problem with its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagectl.adapters.project_files import (
    find_project,
    image_names,
    load_all,
    load_image,
    load_policy,
    load_project,
)
from imagectl.errors import BadInput, Failed, NotFound
from imagectl.model.names import ImageName

BASE = """\
summary: A base
base: {debian: {suite: bookworm}}
provision:
  roles: [baseline]
suites: [tests/images/test_base.py]
"""
CI = """\
summary: A CI worker
base: {parent: "debian-base:stable"}
provision: {playbook: playbooks/ci.yml}
suites:
  - tests/images/test_base.py
  - tests/images/test_ci.py
"""
POLICY = "channels:\n  beta: {entry: true}\n  stable: {from: beta}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a parent and its child, in which nothing is wrong."""
    root = tmp_path / "project"
    for path, text in {
        "imagectl.yaml": "",
        "catalog/channels.yaml": POLICY,
        "images/debian-base/image.yaml": BASE,
        "images/debian-ci/image.yaml": CI,
        "playbooks/ci.yml": "- hosts: all\n",
        "playbooks/roles/baseline/tasks/main.yml": "[]\n",
        "tests/images/test_base.py": "",
        "tests/images/test_ci.py": "",
    }.items():
        write(root, path, text)
    return root


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def said_of(project: Path) -> list[str]:
    with pytest.raises(BadInput) as caught:
        load_all(project)
    return [str(problem) for problem in caught.value.problems]


def test_a_project_is_found_from_anywhere_in_it(project: Path) -> None:
    assert find_project(project) == project
    assert find_project(project / "images/debian-ci") == project
    with pytest.raises(NotFound) as caught:
        find_project(project.parent)
    assert "imagectl init" in caught.value.hint


def test_a_folder_called_like_the_project_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "imagectl.yaml").mkdir()
    with pytest.raises(NotFound):
        find_project(tmp_path)


def test_a_right_project_is_read_parents_first(project: Path) -> None:
    assert image_names(project) == ("debian-base", "debian-ci")
    assert [image.name for image in load_all(project)] == ["debian-base", "debian-ci"]
    assert load_image(project, ImageName("debian-ci")) == load_all(project)[1]
    assert load_policy(project).names == ("beta", "stable")
    assert "local" in load_project(project).locations


@pytest.mark.parametrize("missing", ["catalog/channels.yaml", "imagectl.yaml"])
def test_a_missing_file_is_named_with_a_way_to_get_one(project: Path, missing: str) -> None:
    (project / missing).unlink()
    load = load_policy if "channels" in missing else load_project
    with pytest.raises(NotFound) as caught:
        load(project)
    assert caught.value.what == f"{missing} is missing"
    assert "imagectl init" in caught.value.hint
    assert said_of(project)[0].startswith(f"{missing}: {missing} is missing")


def test_an_unknown_image_is_not_found_and_the_likeliest_is_named(project: Path) -> None:
    with pytest.raises(NotFound) as caught:
        load_image(project, ImageName("debain-ci"))
    assert (caught.value.what, caught.value.hint) == (
        "there is no image 'debain-ci'",
        "did you mean debian-ci?",
    )


def test_problems_of_every_file_come_at_once(project: Path) -> None:
    write(project, "imagectl.yaml", "stroe: x\n")
    exception = "images: {debian-xi: {channels: {beta: {}}}}\n"
    write(project, "catalog/channels.yaml", POLICY + exception)
    write(project, "images/debian-base/image.yaml", BASE.replace("bookworm", "bookwrom"))
    write(
        project,
        "images/debian-ci/image.yaml",
        CI.replace("debian-base:stable", "debain-base:stabel")
        .replace("ci.yml", "cj.yml")
        .replace("test_ci.py", "test_cu.py"),
    )
    write(project, "images/Debian_3/image.yaml", "")
    write(project, "images/other/image.yml", "")
    assert said_of(project) == [
        "catalog/channels.yaml:4:10: images.debian-xi: there is no image 'debian-xi'"
        " (did you mean debian-ci?)",
        "imagectl.yaml:1:1: unknown key 'stroe' (did you mean store?)",
        "images/Debian_3/image.yaml: 'Debian_3' is not an image name: it begins with a letter a-z"
        " and holds only a-z, 0-9 and single hyphens in between"
        " (the folder's name is the image's name)",
        "images/debian-base/image.yaml:2:24: base.debian.suite: 'bookwrom' is not a Debian suite"
        " (did you mean bookworm?)",
        "images/debian-ci/image.yaml:2:16: base.parent: there is no channel 'stabel'"
        " (did you mean stable?)",
        "images/debian-ci/image.yaml:2:16: base.parent: there is no image 'debain-base'"
        " (did you mean debian-base?)",
        "images/debian-ci/image.yaml:3:23: provision.playbook: there is no file 'playbooks/cj.yml'"
        " (did you mean ci.yml?)",
        "images/debian-ci/image.yaml:6:5: suites[1]: there is no file 'tests/images/test_cu.py'"
        " (did you mean test_ci.py?)",
        "images/other/image.yml: is not read (rename it to image.yaml)",
    ]


def test_one_image_is_checked_without_the_others(project: Path) -> None:
    write(project, "images/debian-base/image.yaml", "nonsense")
    assert load_image(project, ImageName("debian-ci")).name == "debian-ci"
    write(project, "images/debian-ci/image.yaml", CI.replace("stable", "stabel"))
    with pytest.raises(BadInput, match=r"1 problem in images/debian-ci/image\.yaml"):
        load_image(project, ImageName("debian-ci"))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            "locations: [local, lab]",
            "7:20: locations[1]: there is no location 'lab' in imagectl.yaml (known: local)",
        ),
        (
            "locations: {required: [loacl], optional: [lab]}",
            "7:24: locations.required[0]: there is no location 'loacl' in imagectl.yaml"
            " (did you mean local?)",
        ),
    ],
)
def test_an_image_goes_to_locations_that_there_are(project: Path, lines: str, said: str) -> None:
    write(project, "images/debian-ci/image.yaml", CI + lines + "\n")
    assert said_of(project)[0] == f"images/debian-ci/image.yaml:{said}"


def test_an_image_has_a_format_that_its_location_takes(project: Path) -> None:
    cloud = "  cloud: {type: gce, project: acme-images, bucket: acme-upload}\n"
    local = "  local: {type: directory, path: out}\n"
    write(project, "imagectl.yaml", f"locations:\n{local}{cloud}")
    write(project, "images/debian-ci/image.yaml", CI + "locations: [local, cloud]\n")
    assert said_of(project) == [
        "images/debian-ci/image.yaml:7:20: locations[1]: 'cloud' takes none of the image's "
        "formats: qcow2 (add one of these to `formats`: gce)"
    ]
    write(project, "images/debian-ci/image.yaml", CI + "formats: [qcow2, gce]\nlocations: [cloud]")
    assert len(load_all(project)) == 2


def test_a_default_location_that_is_not_there_is_noticed_too(project: Path) -> None:
    write(project, "imagectl.yaml", "locations: {share: {type: directory, path: out}}\n")
    assert said_of(project)[0] == (
        "images/debian-base/image.yaml:1:1: locations.required[0]:"
        " there is no location 'local' in imagectl.yaml (known: share)"
    )


def test_a_role_is_a_folder_and_a_playbook_is_not(project: Path) -> None:
    write(project, "playbooks/roles/base", "not a folder")
    (project / "playbooks/x.yml").mkdir()
    write(project, "images/debian-base/image.yaml", BASE.replace("[baseline]", "[base]"))
    write(project, "images/debian-ci/image.yaml", CI.replace("ci.yml", "x.yml"))
    assert [said.split(" (")[0] for said in said_of(project)] == [
        "images/debian-base/image.yaml:4:11: provision.roles[0]:"
        " there is no folder 'playbooks/roles/base'",
        "images/debian-ci/image.yaml:3:23: provision.playbook: there is no file 'playbooks/x.yml'",
    ]


def test_a_local_disk_is_looked_for(project: Path) -> None:
    disk = f"base: {{disk: {{source: disks/base.raw, sha256: {'0' * 64}}}}}"
    text = BASE.replace("base: {debian: {suite: bookworm}}", disk)
    write(project, "images/debian-base/image.yaml", text)
    assert said_of(project) == [
        "images/debian-base/image.yaml:2:23: base.disk.source: there is no file 'disks/base.raw'"
    ]
    write(project, "disks/base.raw", "")
    assert len(load_all(project)) == 2
    remote = disk.replace("disks/base.raw", "'https://mirror.example/disks/base.raw'")
    write(project, "images/debian-base/image.yaml", text.replace(disk, remote))
    assert len(load_all(project)) == 2


def test_parents_in_a_circle_are_shown_as_one(project: Path) -> None:
    write(
        project,
        "images/debian-base/image.yaml",
        BASE.replace("{debian: {suite: bookworm}}", "{parent: 'debian-ci:beta'}"),
    )
    assert said_of(project) == [
        "images/debian-base/image.yaml:2:16: base.parent:"
        " parents in a circle: debian-base -> debian-ci -> debian-base",
        "images/debian-ci/image.yaml:2:16: base.parent:"
        " parents in a circle: debian-ci -> debian-base -> debian-ci",
    ]


def test_an_image_is_not_its_own_parent(project: Path) -> None:
    text = CI.replace("debian-base:stable", "debian-ci@20261120.1")
    write(project, "images/debian-ci/image.yaml", text)
    assert said_of(project) == [
        "images/debian-ci/image.yaml:2:16: base.parent: parents in a circle: debian-ci -> debian-ci"
    ]


def test_a_child_is_for_its_parents_processor(project: Path) -> None:
    write(project, "images/debian-ci/image.yaml", CI + "architecture: arm64\n")
    assert said_of(project) == [
        "images/debian-ci/image.yaml:7:15: architecture: the parent 'debian-base' is for amd64"
    ]


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("playbooks/ci.yml", "images/debian-ci/image.yaml:3:23: provision.playbook: "),
        ("tests/images/test_ci.py", "images/debian-ci/image.yaml:6:5: suites[1]: "),
        ("playbooks/roles/baseline", "images/debian-base/image.yaml:4:11: provision.roles[0]: "),
        ("images/debian-ci/image.yaml", "images/debian-ci/image.yaml: "),
        ("images/debian-ci", "images/debian-ci/image.yaml: "),
        ("catalog/channels.yaml", "catalog/channels.yaml: "),
    ],
)
def test_a_link_never_leads_out_of_the_project(project: Path, path: str, where: str) -> None:
    outside = project.parent / "outside"
    os.rename(project / path, outside)
    os.symlink(outside, project / path)
    (said,) = said_of(project)
    assert said.startswith(where)
    assert "leads out of the project" in said


def test_a_link_inside_the_project_is_as_good_as_a_file(project: Path) -> None:
    os.rename(project / "playbooks/ci.yml", project / "playbooks/real.yml")
    os.symlink("real.yml", project / "playbooks/ci.yml")
    assert len(load_all(project)) == 2


def test_a_link_to_itself_is_said_to_be_missing_and_no_more(project: Path) -> None:
    (project / "playbooks/ci.yml").unlink()
    os.symlink("ci.yml", project / "playbooks/ci.yml")
    (said,) = said_of(project)
    assert "provision.playbook: " in said


def test_what_is_left_of_another_branch_is_no_image(project: Path) -> None:
    write(project, "images/old/image.lock", "{}")
    write(project, "images/README.md", "")
    (project / "images/__pycache__").mkdir()
    assert image_names(project) == ("debian-base", "debian-ci")


def test_a_folder_with_a_bad_name_is_reported_on_one_line(project: Path) -> None:
    write(project, "images/a\nb/image.yaml", BASE)
    (project / "images" / os.fsdecode(b"\xff")).mkdir()
    (project / "images" / os.fsdecode(b"\xff") / "image.yaml").write_text(BASE)
    with pytest.raises(BadInput) as caught:
        image_names(project)
    said = [str(problem) for problem in caught.value.problems]
    assert len(said) == 2
    assert all(each.isprintable() for each in said)


def test_a_file_too_large_to_be_one_is_not_read_whole(project: Path) -> None:
    with (project / "imagectl.yaml").open("wb") as opened:
        opened.truncate(1 << 40)
    with pytest.raises(BadInput) as caught:
        load_project(project)
    assert "larger than 1 MiB" in str(caught.value.problems[0])


def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(project: Path) -> None:
    (project / "imagectl.yaml").unlink()
    os.mkfifo(project / "imagectl.yaml")
    with pytest.raises(BadInput) as caught:
        load_project(project)
    assert str(caught.value.problems[0]) == "imagectl.yaml: is not a file"


def test_images_in_place_of_a_folder_are_not_taken_for_none(project: Path) -> None:
    """P3: a folder that was not read is unknown, never empty."""
    os.rename(project / "images", project / "other")
    write(project, "images", "not a folder")
    with pytest.raises(Failed, match="cannot be read"):
        image_names(project)


def test_a_project_without_images_is_one(project: Path) -> None:
    os.rename(project / "images", project / "elsewhere")
    assert load_all(project) == ()
    with pytest.raises(NotFound):
        load_image(project, ImageName("debian-ci"))


def test_a_family_that_shows_no_channel_is_found_before_anything_is_released(
    project: Path,
) -> None:
    text = (
        "locations:\n  cloud: {type: gce, project: acme-images, bucket: acme,"
        " family_channel: stabel}\n"
    )
    write(project, "imagectl.yaml", text)
    problem = (
        "imagectl.yaml:2:74: locations.cloud.family_channel: there is no channel 'stabel' in"
        " channels.yaml (did you mean stable?)"
    )
    assert problem in said_of(project)
    with pytest.raises(BadInput) as caught:
        load_policy(project)
    assert [str(each) for each in caught.value.problems] == [problem]
