"""``image.yaml``: what it can say, and what is said of one that is wrong."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagectl.errors import BadInput
from imagectl.formats.image_yaml import parse_image
from imagectl.model.image import (
    DebianBase,
    DiskBase,
    Image,
    ParentBase,
    Provision,
    SecretKind,
    SecretRef,
)
from imagectl.model.names import (
    Architecture,
    Format,
    ImageName,
    LocationName,
    Sha256,
    parse_image_ref,
)

GOLDEN = Path(__file__).parent / "golden"
NAME = ImageName("debian-ci")
FILE = "images/debian-ci/image.yaml"
SMALL = "summary: x\nbase: {debian: {suite: bookworm}}\nsuites: [tests/x.py]\n"
DIGEST = "0123456789abcdef" * 4


def read(text: str) -> Image:
    return parse_image(text.encode(), FILE, NAME)[0]


TYPED_IN = (
    "write {env: NAME}, {file: PATH} or {keyring: SERVICE/USER}; a secret that was typed in here is"
    " known to others by now"
)


def said_of(text: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]


def base_of(text: str) -> object:
    return read(f"summary: x\nbase: {text}\nsuites: [tests/x.py]\n").base


def test_the_smallest_definition_has_every_default() -> None:
    assert read(SMALL) == Image(
        name=NAME,
        summary="x",
        base=DebianBase("bookworm", (), ("main",)),
        architecture=Architecture.AMD64,
        disk_size=4 << 30,
        provision=Provision(None, (), {}, {}),
        suites=(PurePosixPath("tests/x.py"),),
        formats=(Format.QCOW2,),
        required_locations=(LocationName("local"),),
        optional_locations=(),
        build_memory=1 << 30,
        build_cpus=2,
        test_memory=1 << 30,
    )


def test_a_definition_that_says_everything() -> None:
    image = read(
        """\
summary: A CI worker with Docker
base:
  debian:
    suite: trixie
    packages: [git, libstdc++6, docker.io]
    components: [main, non-free-firmware]
architecture: arm64
disk_size: 12GiB
provision:
  playbook: playbooks/debian-ci.yml
  roles: [baseline, acme.docker]
  vars:
    release: 3.10
    limits: {nofile: 65536, core: null, fast: true, mode: "0644"}
    mirrors: [one, 2, on]
  secrets:
    api_password: {env: API_PASSWORD}
    licence: {file: /run/secrets/licence}
    login: {keyring: acme/ci}
suites: [tests/images/base.py, tests/images/ci.py]
formats: [qcow2, raw]
locations: {required: [local, dc1], optional: [lab]}
build: {memory: 3G, cpus: 4}
test: {memory: 512M}
"""
    )
    assert image == Image(
        name=NAME,
        summary="A CI worker with Docker",
        base=DebianBase(
            "trixie", ("git", "libstdc++6", "docker.io"), ("main", "non-free-firmware")
        ),
        architecture=Architecture.ARM64,
        disk_size=12 << 30,
        provision=Provision(
            PurePosixPath("playbooks/debian-ci.yml"),
            ("baseline", "acme.docker"),
            {
                "release": "3.10",
                "limits": {"nofile": 65536, "core": None, "fast": True, "mode": "0644"},
                "mirrors": ["one", 2, "on"],
            },
            {
                "api_password": SecretRef(SecretKind.ENV, "API_PASSWORD"),
                "licence": SecretRef(SecretKind.FILE, "/run/secrets/licence"),
                "login": SecretRef(SecretKind.KEYRING, "acme/ci"),
            },
        ),
        suites=(PurePosixPath("tests/images/base.py"), PurePosixPath("tests/images/ci.py")),
        formats=(Format.QCOW2, Format.RAW),
        required_locations=(LocationName("local"), LocationName("dc1")),
        optional_locations=(LocationName("lab"),),
        build_memory=3 << 30,
        build_cpus=4,
        test_memory=512 << 20,
    )


def test_a_list_of_locations_is_short_for_required_ones() -> None:
    image = read(SMALL + "locations: [dc1, local]\n")
    assert image.required_locations == (LocationName("dc1"), LocationName("local"))
    assert image.optional_locations == ()


@pytest.mark.parametrize("ref", ["debian-base:stable", "debian-base@20261120.1"])
def test_a_parent_is_named_with_a_channel_or_a_version(ref: str) -> None:
    assert base_of(f"{{parent: {ref!r}}}") == ParentBase(parse_image_ref(ref))
    assert base_of(f"\n  parent: {ref}") == ParentBase(parse_image_ref(ref))


def test_a_bare_parent_is_refused_since_it_does_not_say_which_version() -> None:
    assert said_of("summary: x\nbase: {parent: debian-base}\nsuites: [tests/x.py]\n") == [
        f"{FILE}:2:16: base.parent: 'debian-base' does not say which version of it"
        " (write debian-base:stable to follow a channel, or debian-base@YYYYMMDD.N to stay)"
    ]


@pytest.mark.parametrize(
    "source",
    ["https://mirror.example/a/disk.qcow2", "http://10.0.0.1:8080/d.raw?x=1", "disks/base.qcow2"],
)
def test_a_disk_is_a_url_or_a_path_and_always_a_digest(source: str) -> None:
    found = base_of(f"{{disk: {{source: {source!r}, sha256: {DIGEST}}}}}")
    assert found == DiskBase(source, Sha256(DIGEST))
    said = said_of(f"summary: x\nbase: {{disk: {{source: {source!r}}}}}\nsuites: [tests/x.py]\n")
    assert said == [f"{FILE}:2:14: base.disk: 'sha256' is missing (a sha256)"]


@pytest.mark.parametrize(
    "source",
    [
        "ftp://mirror.example/disk",
        "file:///etc/passwd",
        "https://user:pw@mirror.example/disk",
        "https:///disk",
        "/srv/disk.qcow2",
        "../disk.qcow2",
        "disks/../../x",
        "~/disk",
    ],
)
def test_a_disk_from_elsewhere_is_refused(source: str) -> None:
    text = f"summary: x\nbase: {{disk: {{source: {source!r}, sha256: {DIGEST}}}}}\n"
    (said,) = said_of(text + "suites: [tests/x.py]\n")
    assert f"base.disk.source: {source.replace('user:pw', '...')!r} " in said


def test_a_disk_with_half_a_digest_is_refused() -> None:
    text = "summary: x\nbase: {disk: {source: disk.raw, sha256: abc}}\nsuites: [tests/x.py]\n"
    assert said_of(text) == [
        f"{FILE}:2:41: base.disk.sha256: 'abc' is not a sha256: 64 digits 0-9a-f are expected"
    ]


@pytest.mark.parametrize(
    ("suite", "hint"), [("bookwrom", "did you mean bookworm?"), ("Bookworm", "such as bookworm")]
)
def test_a_misspelt_suite_is_noticed_before_a_mirror_is_asked(suite: str, hint: str) -> None:
    text = f"summary: x\nbase: {{debian: {{suite: {suite}}}}}\nsuites: [tests/x.py]\n"
    said = f"{FILE}:2:24: base.debian.suite: '{suite}' is not a Debian suite ({hint})"
    assert said_of(text) == [said]


def test_a_mirror_may_have_suites_of_its_own() -> None:
    assert base_of("{debian: {suite: acme-12}}") == DebianBase("acme-12")


BAD_PATHS = [
    "/etc/passwd.py",
    "../x.py",
    "tests/../../x.py",
    "tests/./x.py",
    "tests//x.py",
    "~/x.py",
    "tests\\x.py",
    "x.py/..",
    "./x.py",
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_never_leaves_the_project_and_has_one_spelling(path: str) -> None:
    (said,) = said_of(SMALL.replace("tests/x.py", f"'{path}'"))
    assert said.startswith(f"{FILE}:3:10: suites[0]: ")
    playbook = path.replace(".py", ".yml")
    (said,) = said_of(SMALL + f"provision: {{playbook: '{playbook}'}}\n")
    assert said.startswith(f"{FILE}:4:23: provision.playbook: ")


@pytest.mark.parametrize("path", ["tests/x\\0.py", "tests/\\n.py", "tests/\\u2028.py"])
def test_a_path_has_no_control_characters(path: str) -> None:
    (said,) = said_of(SMALL.replace("tests/x.py", f'"{path}"'))
    assert said.endswith("holds a control character")


@pytest.mark.parametrize(
    "playbook",
    ["site.yml", "tests/site.yml", "playbooks/site.txt", "playbooks", "xplaybooks/a.yml"],
)
def test_a_playbook_is_below_playbooks_so_that_its_changes_are_noticed(playbook: str) -> None:
    (said,) = said_of(SMALL + f"provision: {{playbook: {playbook}}}\n")
    assert f"'{playbook}' is not a playbook (playbooks are .yml files below playbooks/" in said


@pytest.mark.parametrize("role", ["../x", "a/b", ".hidden", "-x", "a b", "é"])
def test_a_role_is_a_name_in_playbooks_roles(role: str) -> None:
    (said,) = said_of(SMALL + f"provision: {{roles: ['{role}']}}\n")
    assert said == f"{FILE}:4:21: provision.roles[0]: '{role}' is not a role name"


@pytest.mark.parametrize("package", ["Git", "git;reboot", "-o", "git curl", "g", "--x", "é"])
def test_a_package_is_a_name_and_nothing_else(package: str) -> None:
    text = f"summary: x\nbase: {{debian: {{suite: bookworm, packages: ['{package}']}}}}\n"
    (said,) = said_of(text + "suites: [tests/x.py]\n")
    assert said.endswith(f"base.debian.packages[0]: '{package}' is not a package name")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("db_password", "hunter2"),
        ("PASSWORD", "'x'"),
        ("passwd", "12345"),
        ("api-token", "abc"),
        ("client_secret", "abc"),
        ("private_key", "abc"),
        ("aws_secret_access_key", "abc"),
        ("apikey", "abc"),
        ("tokens", "{ci: abc}"),
        ("passwords", "[abc]"),
        ("nested", "{db: {password: abc}}"),
        ("motd", '"-----BEGIN RSA PRIVATE KEY-----"'),
    ],
)
def test_a_secret_is_never_written_down(key: str, value: str) -> None:
    (said,) = said_of(SMALL + f"provision:\n  vars:\n    {key.replace('-', '_')}: {value}\n")
    assert "put it under 'secrets', by reference: {env: NAME}" in said
    assert "abc" not in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("password_login", "'no'"),
        ("password", "null"),
        ("password", "false"),
        ("password", "''"),
        ("token", '\'{{ lookup("env", "TOKEN") }}\''),
        ("tokenizer", "fast"),
        ("public_key", "ssh-ed25519 AAAA"),
        ("monkey", "abc"),
        ("secretary", "abc"),
    ],
)
def test_what_only_sounds_like_a_secret_is_let_through(key: str, value: str) -> None:
    assert key in read(SMALL + f"provision:\n  vars:\n    {key}: {value}\n").provision.variables


@pytest.mark.parametrize("name", ["a-b", "1a", "a b", "é", "a.b"])
def test_a_variable_has_a_name_that_ansible_can_use(name: str) -> None:
    for kind, value in (("vars", "x"), ("secrets", "{env: X}")):
        (said,) = said_of(SMALL + f"provision:\n  {kind}:\n    {name}: {value}\n")
        assert said.startswith(
            f"{FILE}:6:5: provision.{kind}: '{name}' is not the name of a variable"
        )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("disk_size: 512M", "4:12: disk_size: 512M is less than 1G"),
        ("disk_size: 4", "4:12: disk_size: 4 is less than 1G (a number without a unit is bytes)"),
        ("disk_size: 3T", "4:12: disk_size: 3T is more than 2T"),
        ("disk_size: 2000000000", "4:12: disk_size: 2000000000 is not a whole number of MiB"),
        ("build: {cpus: 0}", "4:15: build.cpus: 0 is not a whole number from 1 to 64"),
        ("test: {memory: 1M}", "4:16: test.memory: 1M is less than 256M"),
        ("formats: []", "4:10: formats: is empty; at least one is needed"),
        (
            "formats: [vhd]",
            "4:11: formats[0]: 'vhd' is not known here (known: raw, qcow2, gce, vmdk, ova)",
        ),
        (
            "formats: [qcow2, gce]\ndisk_size: 1536M",
            "5:12: disk_size: is 1536M, but Google Compute Engine takes only whole GiB "
            "(write 2G, or take gce out of 'formats')",
        ),
        (
            "architecture: amd46",
            "4:15: architecture: 'amd46' is not known here (did you mean amd64?)",
        ),
        (
            "locations: {required: [local], optional: [lab, local]}",
            "4:48: locations.optional[1]: 'local' is under 'required' too",
        ),
        ("locations: []", "4:12: locations: is empty; at least one is needed"),
        (
            "locations: {optional: [lab]}",
            "4:12: locations: 'required' is missing (a list of location names)",
        ),
        (
            "provision: {vars: {a: 1}, secrets: {a: {env: A}}}",
            "4:37: provision.secrets.a: is under 'vars' too (keep one of them)",
        ),
        (
            "provision: {secrets: {a: hunter2}}",
            "4:26: provision.secrets.a: a text that is not shown here, where a mapping with one of"
            f" `env`, `file`, `keyring` is expected ({TYPED_IN})",
        ),
        (
            "provision: {secrets: {a: {hunter2}}}",
            "4:27: provision.secrets.a: unknown key a text that is not shown here"
            " (known: env, file, keyring)",
        ),
        (
            "provision: {secrets: {a: {env: hunter-2}}}",
            "4:32: provision.secrets.a.env: a text that is not shown here is not the name of an"
            " environment variable",
        ),
        (
            "provision: {secrets: {a: {env: A, file: b}}}",
            "4:35: provision.secrets.a: 'file' beside 'env': only one of them can be",
        ),
    ],
)
def test_a_wrong_value_is_reported_where_it_stands(line: str, said: str) -> None:
    assert said_of(SMALL + line + "\n") == [f"{FILE}:{said}"]


def test_a_summary_is_one_short_line() -> None:
    assert read(SMALL.replace("summary: x", f"summary: {'x' * 120}")).summary == "x" * 120
    assert said_of(SMALL.replace("summary: x", f"summary: {'x' * 121}")) == [
        f"{FILE}:1:10: summary: 121 characters; 120 are allowed"
    ]
    (said,) = said_of(SMALL.replace("summary: x", 'summary: "a\\nb"'))
    assert said == f"{FILE}:1:10: summary: 'a\\nb' is not one line of text"


def test_an_image_without_tests_is_refused() -> None:
    assert said_of("summary: x\nbase: {debian: {suite: bookworm}}\n") == [
        f"{FILE}:1:1: 'suites' is missing (a list of Testinfra suites)"
    ]


def test_every_problem_of_an_awful_definition_comes_at_once_and_in_the_files_order() -> None:
    data = (GOLDEN / "awful-image.yaml").read_bytes()
    with pytest.raises(BadInput) as caught:
        parse_image(data, "images/x/image.yaml", ImageName("x"))
    said = "".join(f"{problem}\n" for problem in caught.value.problems)
    assert said == (GOLDEN / "awful-image.problems.txt").read_text()
    assert caught.value.what == "36 problems in images/x/image.yaml"


def test_the_places_of_values_are_kept_for_later() -> None:
    text = SMALL + "provision:\n  roles:\n    - one\n    - two\n"
    _, source = parse_image(text.encode(), FILE, NAME)
    assert (
        str(source.problem(("provision", "roles", 1), "x")) == f"{FILE}:7:7: provision.roles[1]: x"
    )
    assert str(source.problem(("suites", 0), "x")) == f"{FILE}:3:10: suites[0]: x"
    assert str(source.problem(("provision", "playbook"), "x")).startswith(f"{FILE}:4:1: ")
    assert str(source.problem((), "x")) == f"{FILE}:1:1: x"


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_bad_input(data: bytes) -> None:
    for prefix in (b"", SMALL.encode(), SMALL.encode() + b"provision: {vars: {"):
        try:
            parse_image(prefix + data, FILE, NAME)
        except BadInput as error:
            said = str(error)
            assert said.endswith(FILE)
