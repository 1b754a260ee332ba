"""The key ``packer`` of a definition: the user's own Packer template."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from imagectl.adapters.definition_digest import definition_digests
from imagectl.errors import BadInput
from imagectl.formats.cross_checks import Defined, check_locations, check_template
from imagectl.formats.image_yaml import parse_image
from imagectl.formats.project_yaml import parse_project
from imagectl.model.image import Image, PackerTemplate, SecretKind, SecretRef
from imagectl.model.names import Format, ImageName, LocationName

NAME = ImageName("ci")
HEAD = "summary: a test\nsuites: [tests/images/test_ci.py]\n"
HERE = HEAD + "packer: {template: images/ci/template.json}\n"
THERE = HEAD + "packer: {template: images/ci/template.pkr.hcl, builds: cloud}\n"


def parse(text: str) -> Image:
    return parse_image(text.encode(), "f", NAME)[0]


def problems(text: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        parse(text)
    return [str(each) for each in caught.value.problems]


def test_a_template_takes_the_place_of_a_base() -> None:
    image = parse(HERE + "formats: [raw, gce]\nlocations: [local]\n")
    assert image.base == PackerTemplate(PurePosixPath("images/ci/template.json"))
    assert image.formats == (Format.RAW, Format.GCE)


def test_variables_secrets_and_the_choice_of_a_build() -> None:
    image = parse(
        HEAD + "packer:\n"
        "  template: images/ci/template.json\n"
        "  variables: {cpus: 2, suite: bookworm, fast: true}\n"
        "  secrets: {password: {env: VC_PASSWORD}}\n"
        "  only: vsphere-clone\n"
        "  builds: dc1\n"
    )
    assert image.base == PackerTemplate(
        PurePosixPath("images/ci/template.json"),
        {"cpus": 2, "suite": "bookworm", "fast": True},
        {"password": SecretRef(SecretKind.ENV, "VC_PASSWORD")},
        "vsphere-clone",
        LocationName("dc1"),
    )


def test_what_is_built_in_a_location_is_there_and_nowhere_else() -> None:
    image = parse(THERE)
    assert image.formats == (Format.NATIVE,)
    assert image.required_locations == (LocationName("cloud"),)
    assert image.optional_locations == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD, "f:1:1: 'base' is missing"),
        (HERE + "base: {debian: {suite: bookworm}}\n", "f:4:1: base: cannot stand beside 'packer'"),
        (HERE + "provision: {roles: [x]}\n", "f:4:1: provision: cannot stand beside 'packer'"),
        (HERE + "disk_size: 4G\n", "f:4:12: disk_size: cannot stand beside 'packer'"),
        (HERE + "build: {cpus: 2}\n", "f:4:1: build: cannot stand beside 'packer'"),
        (HERE + "formats: [native]\n", "'native' is not known here"),
        (THERE + "formats: [raw]\n", "f:4:1: formats: means nothing with 'packer.builds'"),
        (THERE + "locations: [local]\n", "f:4:1: locations: means nothing with 'packer.builds'"),
        (HERE.replace("images/ci/", "templates/"), "is not in a folder below images/"),
        (HERE.replace("ci/", ""), "is not in a folder below images/"),
        (HERE.replace("ci/", "../"), "leads upwards"),
        (HERE.replace(".json", ".yaml"), "is not a Packer template"),
        (HERE.replace("}", ", variables: {password: x}}"), "looks like a secret"),
        (
            HERE.replace("}", ", variables: {a: x}, secrets: {a: {env: A}}}"),
            "packer.secrets.a: is under 'variables' too",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(text: str, says: str) -> None:
    assert any(says in each for each in problems(text)), problems(text)


PROJECT = """
locations:
  local: {type: directory, path: places/local}
  cloud: {type: gce, project: acme-images, bucket: acme-upload, zone: europe-west1-b}
  zoneless: {type: gce, project: acme-other, bucket: acme-upload}
"""


def check(location: str) -> list[str]:
    text = THERE.replace("cloud", location)
    defined = Defined(*parse_image(text.encode(), "f", NAME))
    project = parse_project(PROJECT.encode(), "imagectl.yaml")[0]
    found = [*check_locations(defined, project), *check_template(defined, project)]
    return [str(each) for each in found]


def test_an_image_is_built_where_that_can_be_done_and_tested() -> None:
    assert check("cloud") == []


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("clout", "there is no location 'clout' in imagectl.yaml"),
        ("local", "of type directory, nothing can be built"),
        ("zoneless", "cannot be tested there (give zoneless a `zone`"),
    ],
)
def test_elsewhere_it_is_refused_before_anything_is_made(location: str, says: str) -> None:
    (problem,) = check(location)
    assert problem.startswith("f:3:")
    assert says in problem


def test_every_file_beside_the_template_is_a_part_of_the_definition(tmp_path: Path) -> None:
    """Else a changed script would leave the image as it was."""
    (tmp_path / "tests/images").mkdir(parents=True)
    (tmp_path / "tests/images/test_ci.py").touch()
    (tmp_path / "images/ci/http").mkdir(parents=True)
    (tmp_path / "images/ci/template.json").write_text("{}")
    preseed = tmp_path / "images/ci/http/preseed.cfg"
    preseed.write_text("one")
    image = parse(HERE)
    before = definition_digests(tmp_path, image)
    for name in ("image.yaml", "image.lock"):
        (tmp_path / "images/ci" / name).write_text("x")
    assert definition_digests(tmp_path, image) == before
    preseed.write_text("another")
    assert definition_digests(tmp_path, image).definition != before.definition
