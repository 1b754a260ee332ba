"""``imagectl.yaml``: its defaults, what it can say, and what is said of one that is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagectl.errors import BadInput
from imagectl.formats.project_yaml import parse_project
from imagectl.model.image import SecretKind, SecretRef
from imagectl.model.names import LocationName
from imagectl.model.place import Bucket, DirectoryLocation, GcsLocation, public_urls
from imagectl.model.project import (
    Accelerator,
    BuildSettings,
    InputSettings,
    Mirror,
    Project,
)

DEFAULT = Project(
    catalog_url="sqlite:///.imagectl/catalog.sqlite3",
    catalog_password=None,
    publish=(PurePosixPath("catalog/public"),),
    store=PurePosixPath(".imagectl/store"),
    inputs=InputSettings(PurePosixPath(".imagectl/inputs")),
    locations={
        LocationName("local"): DirectoryLocation(PurePosixPath(".imagectl/locations/local"))
    },
    mirror=Mirror(None, None),
    build=BuildSettings(Accelerator.AUTO, timedelta(minutes=5)),
)


def read(text: str) -> Project:
    return parse_project(text.encode(), "imagectl.yaml")[0]


def test_a_tree_carries_the_history_where_that_is_said() -> None:
    project = read("catalog: {publish: [a, {to: b, history: true}, {to: c}]}")
    assert project.publish == tuple(map(PurePosixPath, "abc"))
    assert project.with_history == {PurePosixPath("b")}


def test_trees_may_be_in_buckets() -> None:
    trees = "['s3://acme-images/public', {to: 'gs://acme', history: true}, a]"
    project = read(f"catalog: {{publish: {trees}}}")
    s3, gs = Bucket("s3", "acme-images", "public"), Bucket("gs", "acme")
    assert project.publish == (s3, gs, PurePosixPath("a"))
    assert project.with_history == {gs}
    assert project.first_folder == PurePosixPath("a")
    assert read("catalog: {publish: ['s3://acme']}").first_folder is None


def said_of(text: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "catalog: {}\nmirror: {}\nbuild: {}\n"])
def test_a_project_that_says_nothing_has_every_default(text: str) -> None:
    assert read(text) == DEFAULT


def test_a_project_that_says_everything() -> None:
    project = read(
        """\
catalog:
  url: postgresql+psycopg://imagectl@db.example:5432/catalog?sslmode=require
  password: {env: CATALOG_PASSWORD}
  publish: [catalog/public, /srv/www/images]
store: /srv/imagectl/store
inputs: inputs
locations:
  local: {type: directory, path: out}
  share: {type: directory, path: /mnt/images}
mirror: {debian: "http://mirror.example/debian", security: "https://mirror.example/security"}
build: {accelerator: tcg, boot_timeout: 10m}
"""
    )
    assert project == Project(
        catalog_url="postgresql+psycopg://imagectl@db.example:5432/catalog?sslmode=require",
        catalog_password=SecretRef(SecretKind.ENV, "CATALOG_PASSWORD"),
        publish=(PurePosixPath("catalog/public"), PurePosixPath("/srv/www/images")),
        store=PurePosixPath("/srv/imagectl/store"),
        inputs=InputSettings(PurePosixPath("inputs")),
        locations={
            LocationName("local"): DirectoryLocation(PurePosixPath("out")),
            LocationName("share"): DirectoryLocation(PurePosixPath("/mnt/images")),
        },
        mirror=Mirror("http://mirror.example/debian", "https://mirror.example/security"),
        build=BuildSettings(Accelerator.TCG, timedelta(minutes=10)),
    )


@pytest.mark.parametrize("none", ["0s", "0m", "00h"])
def test_a_guest_that_is_given_no_time_to_boot_is_refused(none: str) -> None:
    """It was accepted, and each build failed at its guest."""
    said = f"build.boot_timeout: {none} is no time at all (write 1s or more, as 10m)"
    assert said_of(f"build:\n  boot_timeout: {none}\n") == [f"imagectl.yaml:2:17: {said}"]
    assert read("build: {boot_timeout: 1s}").build.boot_timeout == timedelta(seconds=1)


def test_security_data_has_an_address_or_none() -> None:
    assert read("").security_data is None
    url = "https://mirror.example/security/release/1"
    assert read(f"security_data: {url}").security_data == url
    with pytest.raises(BadInput, match="1 problem"):
        read("security_data: ftp://mirror.example/x")


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("inputs: /srv/inputs", InputSettings(PurePosixPath("/srv/inputs"))),
        ("inputs: {}", DEFAULT.inputs),
        (
            "inputs: {shared: /mnt/team/inputs}",
            InputSettings(DEFAULT.inputs.path, PurePosixPath("/mnt/team/inputs")),
        ),
        (
            "inputs: {path: inputs, shared: 's3://acme-inputs/debian/12'}",
            InputSettings(PurePosixPath("inputs"), Bucket("s3", "acme-inputs", "debian/12")),
        ),
        (
            "inputs: {shared: 'gs://acme-inputs'}",
            InputSettings(DEFAULT.inputs.path, Bucket("gs", "acme-inputs")),
        ),
    ],
)
def test_inputs_are_a_folder_that_may_have_a_shared_store_behind_it(
    text: str, settings: InputSettings
) -> None:
    found = read(text).inputs
    assert found == settings
    assert isinstance(found.shared, Bucket) is ("://" in text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("inputs: [a]", "a folder, or a mapping with `path` and `shared` is expected"),
        ("inputs: {shared: 'http://host/x'}", "'http://host/x' is not a place in a bucket"),
        ("inputs: {shared: 's3://KEY:secret@bucket/x'}", "never in here"),
        ("inputs: {shared: 's3://bucket/x/'}", "without a slash at the end"),
        ("inputs: {shared: 's3://bucket/../x'}", "leads elsewhere"),
        ("inputs: {shared: '../inputs'}", "leads upwards"),
        ("inputs: {folder: inputs}", "unknown key 'folder'"),
    ],
)
def test_inputs_elsewhere_are_refused(text: str, said: str) -> None:
    (found,) = said_of(text)
    assert said in found


def test_one_mirror_may_be_set_without_the_other() -> None:
    project = read("mirror: {debian: https://mirror.example/debian}")
    assert project.mirror == Mirror("https://mirror.example/debian", None)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///catalog.sqlite3",
        "sqlite:////srv/imagectl/catalog.sqlite3",
        "postgresql+psycopg://db.example/catalog",
        "postgresql+psycopg:///catalog",
        "postgresql+psycopg://me@[::1]:5432/catalog",
    ],
)
def test_a_catalog_is_a_sqlite_file_or_postgresql(url: str) -> None:
    assert read(f"catalog: {{url: '{url}'}}").catalog_url == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:hunter2@db.example/catalog",
        "postgresql+psycopg://:hunter2@db.example/catalog",
        "postgresql://me:hunter2@db.example/catalog",
        "postgresql+psycopg://me@db.example/catalog?password=hunter2",
        "postgresql+psycopg://db.example/catalog?user=me&password=hunter2",
        "mysql://me:hunter2@db.example/catalog",
    ],
)
def test_a_password_is_never_written_down(url: str) -> None:
    """Nor is it repeated in the message, which ends in logs."""
    assert said_of(f"catalog:\n  url: {url}\n") == [
        "imagectl.yaml:2:8: catalog.url: a password in the URL"
        " (write the URL without it, and beside it: password: {env: NAME})"
    ]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "postgresql://me@db.example/catalog",
            "the driver is missing (write postgresql+psycopg://me@db.example/catalog)",
        ),
        ("sqlite:///../catalog.sqlite3", "'../catalog.sqlite3' leads upwards"),
        ("sqlite:///", "the project itself cannot be meant"),
        ("sqlite://", "'sqlite://' is not the URL of a catalog"),
        ("sqlite:///:memory:", "':memory:' is not a folder"),
        ("catalog.sqlite3", "'catalog.sqlite3' is not the URL of a catalog"),
        ("mysql://db.example/catalog", "'mysql://db.example/catalog' is not the URL of a catalog"),
        ("postgresql+psycopg://db.example", "is not the URL of a catalog"),
    ],
)
def test_another_database_is_refused(url: str, said: str) -> None:
    (found,) = said_of(f"catalog: {{url: '{url}'}}")
    assert said in found


def test_a_sqlite_file_has_no_password() -> None:
    assert said_of("catalog: {password: {env: X}}") == [
        "imagectl.yaml:1:11: catalog.password: a SQLite file has no password (leave it out)"
    ]


LOCATION_TYPES = "directory, gce, vsphere, oci, s3, gcs"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("store: ../store", "1:8: store: '../store' leads upwards ('..' is not allowed in a path)"),
        ("store: ~/store", "1:8: store: '~/store' begins with ~, which only a shell understands"),
        ("store: .", "1:8: store: the project itself cannot be meant"),
        (
            "catalog: {publish: ['sftp://acme/x']}",
            "1:21: catalog.publish[0]: 'sftp://acme/x' is not a place in a bucket"
            " (s3://BUCKET/PREFIX or gs://BUCKET/PREFIX, without a slash at the end)",
        ),
        (
            "catalog: {publish: [a, {to: 's3://KEY:secret@acme/x'}]}",
            "1:29: catalog.publish[1].to: 's3://...@acme/x' is not a place in a bucket"
            " (s3://BUCKET/PREFIX or gs://BUCKET/PREFIX, without a slash at the end; credentials"
            " are those of the environment, never in here)",
        ),
        (
            "catalog: {publish: ['gs://acme/a/../b']}",
            "1:21: catalog.publish[0]: 'gs://acme/a/../b' leads elsewhere"
            " (write the prefix without '.' and '..')",
        ),
        (
            "catalog: {publish: ['s3://acme/x', {to: 's3://acme/x', history: true}]}",
            "1:11: catalog.publish: has s3://acme/x a second time (leave one out)",
        ),
        (
            "catalog: {publish: [a, {to: a, history: true}]}",
            "1:11: catalog.publish: has a a second time (leave one out)",
        ),
        ("catalog: {publish: []}", "1:20: catalog.publish: is empty; at least one is needed"),
        ("locations: {}", "1:12: locations: is empty; at least one is needed"),
        (
            "locations: {a: {path: x}}",
            f"1:16: locations.a: 'type' is missing (known: {LOCATION_TYPES})",
        ),
        (
            "locations: {a: {type: ec2, project: x}}",
            f"1:23: locations.a.type: 'ec2' is not known (known: {LOCATION_TYPES})",
        ),
        (
            "locations: {a: {type: [directory]}}",
            "1:23: locations.a.type: a list where a word is expected",
        ),
        ("locations: {a: {type: directory}}", "1:16: locations.a: 'path' is missing (a folder)"),
        (
            "locations: {a: x}",
            "1:16: locations.a: 'x' where a mapping with a `type`: `directory` or `gce` or"
            " `vsphere` or `oci` or `s3` or `gcs` is expected",
        ),
        (
            "locations: {a: {type: directory, path: out, url: /srv/images}}",
            "1:50: locations.a.url: '/srv/images' is not an address (write "
            "https://mirror.example/images, or a path below the published tree's address)",
        ),
        (
            "locations: {a: {type: directory, path: out, url: ../images}}",
            "1:50: locations.a.url: '../images' is not an address (write "
            "https://mirror.example/images, or a path below the published tree's address)",
        ),
        (
            "locations: {a: {type: s3, url: s3://acme, public_url: 'https://a.example/?x'}}",
            "1:55: locations.a.public_url: 'https://a.example/?x' cannot have files below it "
            "(leave out what follows the ?)",
        ),
        (
            "locations: {a: {type: gcs, url: gs://acme-images, credential_expires: 2027-02-30}}",
            "1:71: locations.a.credential_expires: '2027-02-30' is not a day (write YYYY-MM-DD)",
        ),
        (
            "locations: {a: {type: gce, project: acme-images, bucket: acme-upload,"
            " endpoint: 'https://compute.example'}}",
            "1:81: locations.a.endpoint: needs 'storage_endpoint' beside it"
            " (else credentials and disks would go to Google too)",
        ),
        (
            "locations: {a: {type: gce, project: acme-images, bucket: acme-upload,"
            " storage_endpoint: 'https://storage.example'}}",
            "1:89: locations.a.storage_endpoint: needs 'endpoint' beside it"
            " (else credentials and disks would go to Google too)",
        ),
        (
            "locations: {a: {type: directory, path: x}, b: {type: directory, path: x}}",
            "1:71: locations.b.path: the place of location 'a' already"
            " (two locations need two places)",
        ),
        (
            "build: {accelerator: kmv}",
            "1:22: build.accelerator: 'kmv' is not known here (did you mean kvm?)",
        ),
        (
            "mirror: {debian: 'http://me:pw@mirror.example/'}",
            "1:18: mirror.debian: 'http://...@mirror.example/' is not a URL such as"
            " https://mirror.example/debian (secrets do not belong into a URL)",
        ),
        (
            "mirror: http://mirror.example/debian",
            "1:9: mirror: 'http://mirror.example/debian' where a mapping with `debian` and"
            " `security` is expected",
        ),
        ("catalogue: {}", "1:1: unknown key 'catalogue' (did you mean catalog?)"),
    ],
)
def test_a_wrong_setting_is_reported_where_it_stands(line: str, said: str) -> None:
    assert said_of(line) == [f"imagectl.yaml:{said}"]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_bad_input(data: bytes) -> None:
    for prefix in (b"", b"catalog: {url: ", b"locations: {a: {"):
        try:
            parse_project(prefix + data, "f")
        except BadInput as error:
            said = str(error)
            assert said.endswith("f")


def test_when_a_credential_ends_is_a_day_in_utc() -> None:
    found = read(
        "locations: {a: {type: gcs, url: gs://acme-images, credential_expires: 2027-01-31}}"
    )
    assert found.locations[LocationName("a")] == GcsLocation(
        Bucket("gs", "acme-images"), credential_expires=datetime(2027, 1, 31, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    "settings",
    [
        "type: oci, url: r.example/i, username: {env: U}, password: SECRET",
        "type: oci, url: r.example/i, username: {env: U}, password: {SECRET}",
        "type: oci, url: r.example/i, username: {env: U}, password: {env: SECRET}",
        "type: oci, url: r.example/i, username: {env: U}, password: {keyring: SECRET}",
        "type: oci, url: r.example/i, username: {env: U}, password: [SECRET]",
        "type: gcs, url: gs://acme, credentials: SECRET",
        "type: gcs, url: gs://acme, credentials: {file: /a/../SECRET}",
        "type: s3, url: 's3://me:SECRET@acme'",
        "type: oci, url: 'https://me:SECRET@r.example/i'",
        "type: gcs, url: gs://acme, endpoint: 'https://me:SECRET@r.example'",
        "type: gcs, url: gs://acme, public_url: 'https://me:SECRET@r.example'",
        "type: directory, path: out, url: 'https://me:SECRET@r.example'",
    ],
)
def test_a_secret_that_was_typed_in_is_never_shown(settings: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(f"locations: {{a: {{{settings}}}}}".replace("SECRET", "hunter-2"))
    assert "hunter" not in "".join(str(each) for each in caught.value.problems)


def test_where_plain_downloads_work() -> None:
    project = read(
        """\
locations:
  near: {type: directory, path: catalog/public/artifacts, url: artifacts/}
  far: {type: s3, url: s3://acme, public_url: "https://cdn.example/disks/"}
  unknown: {type: gcs, url: gs://acme}
"""
    )
    assert public_urls(project.locations) == {
        "near": "artifacts",
        "far": "https://cdn.example/disks",
    }
