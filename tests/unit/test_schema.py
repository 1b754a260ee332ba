"""One description, two readers: what imagectl accepts is what the JSON Schema says, and back.

The generated documents go through both. Where imagectl alone refuses one, it must be for a rule
that JSON Schema has no words for, and those are listed here.
"""

from __future__ import annotations

import functools
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from imagectl.errors import BadInput
from imagectl.formats import schemas
from imagectl.formats.build_config import parse_build_config
from imagectl.formats.channels_yaml import parse_policy
from imagectl.formats.image_yaml import parse_image
from imagectl.formats.lock_schema import LOCK
from imagectl.formats.paths import FOLDER, PATH, SOURCE, URL
from imagectl.formats.project_yaml import parse_project
from imagectl.formats.reading import read_document
from imagectl.formats.resolved_lock_v1 import parse_resolved
from imagectl.formats.scalars import Text, in_python
from imagectl.formats.schemas import DIALECT, FILES, Described, json_schema, reference_page
from imagectl.formats.words import CHANNEL_NAME, IMAGE_NAME, LOCATION_NAME
from imagectl.formats.yaml_strict import load
from imagectl.model.names import ImageName

JsonSchema = dict[str, Any]

PARSERS: dict[str, Callable[[bytes], object]] = {
    "image": lambda data: parse_image(data, "f", ImageName("x"))[0],
    "lock": lambda data: read_document(LOCK, load(data, "f")),  # no generated checksum is right
    "project": lambda data: parse_project(data, "f")[0],
    "channels": lambda data: parse_policy(data, "f")[0],
    "build-config": lambda data: parse_build_config(data, ".imagectl.yaml"),
    "resolved": lambda data: parse_resolved(data, "f"),
}

SCHEMAS = {described.name: json_schema(described) for described in FILES}

ONLY_IMAGECTL_CAN_SAY = re.compile(
    "looks like a secret|a private key|is under 'vars' too|is under 'required' too"
    "|takes only whole GiB"
    "|'~' may mean|has no value|too long to be one|is not a key|NUL"
    "|is not a Debian suite|is (less|more|larger) than|is not a whole number of MiB"
    "|is not a day|is longer than a hundred years|would refuse every image"
    "|a SQLite file has no password|has a simpler spelling"
    "|no entry channel|a second entry channel|an entry channel has no|'from' is missing"
    "|there is no channel|would be promoted from itself|a second time"
    "|is not a time such as|is before 1970"
    "|braces do not match|would take the whole image|is not a regular expression"
    "|cannot take its place|rewrite needs|first-boot needs|the action is"
    "|no machine can tell|already \\(two locations|needs '[a-z_]+' beside it"
    "|'base' is missing|is under 'variables' too|cannot stand beside 'packer'"
    "|means nothing with 'packer.builds'"
    "|can never sign|it is the key of"
    "|'image' is missing|cannot stand beside 'images'"
)
"""The messages of rules between values, or within a text, that JSON Schema cannot express."""


def _ecma(_: object, pattern: str, text: object, __: object) -> Any:
    """``pattern`` as ECMA-262 means it: in Python, ``$`` matches before a last line break too."""
    if isinstance(text, str) and not re.search(in_python(pattern), text):
        yield jsonschema.ValidationError(f"{text!r} does not match {pattern!r}")


Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _ecma})


def as_yaml(document: object) -> bytes:
    """JSON is YAML; what is invisible is escaped, as a person would have to."""
    text = json.dumps(document, ensure_ascii=False)
    unwanted = "[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]"
    return re.sub(unwanted, lambda found: f"\\u{ord(found[0]):04x}", text).encode()


WORDS = (
    *("debian-base", "local", "stable", "beta", "a", "A", "a--b", "-a", "a\n", "é", "", " "),
    *("debian-base:stable", "debian-base@20261120.1", "debian-base@20261131.1", "20261120.1"),
    *("bookworm", "bookwrom", "main", "sudo", "g++", "baseline", "amd64", "qcow2", "tests"),
    *("4G", "1G", "512M", "4", "3d", "0s", "99999999w", "3 d", "true", "null", "~", "3.10"),
    *("playbooks/a.yml", "playbooks/../a.yml", "playbooks/a.txt", "a.yml", "tests/x.py"),
    *("/srv/x", "../x", "a/./b", "a//b", "a/", "~/x", "a\\b", "a\x00b", "x:y", "/", ".", ".."),
    *("sqlite:///x.db", "sqlite:////srv/x.db", "sqlite:///../x", "sqlite://x"),
    *("postgresql+psycopg://me@db.example/x", "postgresql+psycopg://me:pw@db.example/x"),
    *("postgresql://me@db.example/x", "postgresql+psycopg:///x?password=y", "auto", "kvm"),
    *("postgresql+psycopg://me@db.example:5432/x?sslmode=require", "directory", "gce"),
    *("https://mirror.example/debian", "http://mirror.example", "ftp://mirror.example/x"),
    *("https://u:p@mirror.example/", "a" * 64, "sha256:" + "0" * 64, "0" * 63, "g" * 64),
    *("debian-security", "all", "1:2.3-4+deb12u1", "2026-11-20T12:00:00Z", "2026-11-31T12:00:00Z"),
    *("2027-01-31", "2027-13-01", "tomorrow"),
    *("etc/*.db", "var/{a,b}/**", "var/{a", "{a,..}/b", "etc/[a-z]", "**", "first-boot", r"\1"),
    *("1969-12-31T23:59:59Z", "text/html; charset=utf-8"),
    *("images/x/t.json", "images/x/t.pkr.hcl", "images/t.json", "qemu.x"),
    *("group:ci@acme.example", "s3://acme-images/disks", "gs://acme-images", "s3://a"),
    *("vsphere", "oci", "s3", "gcs", "acme-images", "registry.example:5000/images", "adc"),
    *("NAME", "A-B", "service/user", "/user", "release/1.x", "release/*", "a..b", "x" * 201),
    *("10%", "100%", "0%", "101%", "imagectl-resolved-1"),
    *("team@acme.example", "promoted", "revoked", "{{ event }}", "smtp.acme.example"),
)


@functools.cache
def fitting(pattern: str, longest: int) -> tuple[str, ...]:
    """The words that a pattern lets through."""
    return tuple(
        word for word in WORDS if re.search(in_python(pattern), word) and len(word) <= longest
    )


class Writer:
    """Writes documents for a schema, right by its rules but for *mistakes* of a thousand places.

    Hypothesis only draws the seed: drawing every value by itself is twenty times as slow.
    """

    def __init__(self, seed: int, mistakes: int) -> None:
        self._random = random.Random(seed)
        self._mistakes = mistakes

    def document(self, schema: JsonSchema) -> Any:
        if self._slips():
            return self._anything(2)
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return self.document(self._random.choice(schema[several]))
        if "enum" in schema:
            return self._random.choice(schema["enum"])
        if "const" in schema:
            return schema["const"]
        kind = schema.get("type")
        match self._random.choice(kind) if isinstance(kind, list) else kind:
            case "object":
                return self._object(schema)
            case "array":
                count = max(schema["minItems"], self._random.randint(0, 2))
                return [self.document(schema["items"]) for _ in range(count)]
            case "integer":
                number = schema["minimum"] + schema.get("multipleOf", 1) * self._random.randint(
                    0, 3
                )
                return number - 1 if self._slips() else number
            case "boolean":
                return self._random.random() < 0.5
            case "string":
                words = fitting(schema["pattern"], schema.get("maxLength", 1000))
                return self._random.choice(WORDS if self._slips() else words)
            case _:
                return self._anything(2)

    def _object(self, schema: JsonSchema) -> dict[str, Any]:
        known: JsonSchema = schema.get("properties", {})
        if schema.get("maxProperties") == 1:
            names = [self._random.choice(sorted(known))]
        else:
            needed = schema.get("required", ())
            names = [name for name in known if name in needed or self._random.random() < 0.5]
        found = {name: self.document(known[name]) for name in names}
        more = schema.get("additionalProperties")
        if isinstance(more, dict):
            for _ in range(max(schema["minProperties"], self._random.randint(0, 2))):
                key = self.document({"type": "string", **schema["propertyNames"]})
                found[str(key)] = self.document(more)
        if self._slips():
            found[self._random.choice(WORDS)] = self._anything(1)
        if found and self._slips():
            del found[self._random.choice(sorted(found))]
        return found

    def _anything(self, depth: int) -> Any:
        pick = self._random.randrange(9 if depth else 6)
        if pick < 5:
            return (None, True, 1.5, self._random.randint(-5, 5000), "x")[pick]
        if pick == 5:
            return self._random.choice(WORDS)
        inner = [self._anything(depth - 1) for _ in range(self._random.randint(0, 2))]
        return inner if pick == 6 else {self._random.choice(WORDS): value for value in inner}

    def _slips(self) -> bool:
        return self._random.randrange(1000) < self._mistakes


def refusals(name: str, document: object) -> tuple[str, ...]:
    try:
        PARSERS[name](as_yaml(document))
    except BadInput as error:
        return tuple(str(problem) for problem in error.problems)
    return ()


def typed_without_quotes(error: jsonschema.ValidationError) -> bool:
    """A number or a boolean where a text is asked for, which is the text it was typed as to us."""
    if error.context:
        alternatives: dict[object, list[jsonschema.ValidationError]] = {}
        for below in error.context:
            alternatives.setdefault(below.schema_path[0], []).append(below)
        return any(all(map(typed_without_quotes, errors)) for errors in alternatives.values())
    scalar = isinstance(error.instance, (bool, int, float))
    return error.validator in ("type", "enum", "const") and scalar


@pytest.mark.parametrize("described", FILES, ids=lambda described: described.name)
@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**32), mistakes=st.sampled_from([0, 10, 30, 100]))
def test_imagectl_and_the_json_schema_accept_the_same(
    described: Described, seed: int, mistakes: int
) -> None:
    schema = SCHEMAS[described.name]
    document = Writer(seed, mistakes).document(schema)
    errors = list(Validator(schema).iter_errors(document))
    refused = refusals(described.name, document)
    note(f"{document}\n{errors}\n{refused}")
    if not errors:
        assert [said for said in refused if not ONLY_IMAGECTL_CAN_SAY.search(said)] == []
    if not refused:
        assert all(map(typed_without_quotes, errors))


@pytest.mark.parametrize("described", FILES, ids=lambda described: described.name)
def test_the_documents_above_are_of_all_sorts(described: Described) -> None:
    """Else the test above would prove little: enough are accepted, enough refused, by both."""
    schema = SCHEMAS[described.name]
    accepted = refused = 0
    for seed in range(900):
        document = Writer(seed, 15).document(schema)
        if not Validator(schema).is_valid(document):
            refused += 1
        elif not refusals(described.name, document):
            accepted += 1
    assert accepted >= 10
    assert refused >= 10


TEXT_KINDS: dict[str, Text[Any]] = {
    "image name": IMAGE_NAME,
    "channel name": CHANNEL_NAME,
    "location name": LOCATION_NAME,
    "path": PATH,
    "folder": FOLDER,
    "url": URL,
    "source": SOURCE,
}
ODD_TEXTS = (
    st.lists(
        st.sampled_from(
            [*"ab09-_.:/~@?*#%=\\ \n\0\x85\u2028Aé\u0430", "..", "//", "https://", "http://", "./"]
        ),
        max_size=12,
    ).map("".join)
    | st.sampled_from(WORDS)
    | st.text(max_size=50)
)


@pytest.mark.parametrize("name", TEXT_KINDS)
@settings(max_examples=500, deadline=None)
@given(text=ODD_TEXTS)
@example("a" * 40)
@example("a" * 41)
def test_a_parser_and_the_pattern_beside_it_accept_the_same(name: str, text: str) -> None:
    kind = TEXT_KINDS[name]
    try:
        kind.parse(text)
        parsed = True
    except ValueError:
        parsed = False
    matches = bool(re.search(in_python(kind.pattern), text)) and len(text) <= kind.longest
    assert (parsed and len(text) <= kind.longest) is matches


@pytest.mark.parametrize("described", FILES, ids=lambda described: described.name)
def test_the_shipped_schemas_are_those_that_would_be_written_now(
    described: Described, tmp_path: Path
) -> None:
    schemas.write_all(tmp_path)
    shipped = Path(schemas.__file__).parent / described.schema_file
    hint = "`make docs` writes it again"
    assert shipped.read_text() == (tmp_path / described.schema_file).read_text(), hint


def test_nothing_is_shipped_that_is_not_written(tmp_path: Path) -> None:
    written = {path.name for path in schemas.write_all(tmp_path)}
    assert {path.name for path in Path(schemas.__file__).parent.glob("*.json")} == written


@pytest.mark.parametrize("described", FILES, ids=lambda described: described.name)
def test_a_schema_is_one_and_describes_every_key(described: Described) -> None:
    schema = SCHEMAS[described.name]
    assert schema["$schema"] == DIALECT
    jsonschema.Draft202012Validator.check_schema(schema)
    pending: list[Any] = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            for key in part.get("properties", {}).values():
                assert key["description"].endswith("."), key
            pending += part.values()
        elif isinstance(part, list):
            pending += part


@pytest.mark.parametrize("described", FILES, ids=lambda described: described.name)
def test_every_default_is_itself_right(described: Described) -> None:
    pending: list[Any] = [SCHEMAS[described.name]]
    seen = 0
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            if "default" in part:
                Validator({k: v for k, v in part.items() if k != "default"}).validate(
                    part["default"]
                )
                seen += 1
            pending += part.values()
        elif isinstance(part, list):
            pending += part
    assert seen or described.name == "resolved"  # which people do not write


@pytest.mark.parametrize("described", FILES, ids=lambda described: described.name)
def test_the_reference_has_a_row_for_every_key_of_the_schema(described: Described) -> None:
    page = reference_page(described.record, described.file)
    rows = re.findall(r"^\| `([^`]+)` \|", page, flags=re.M)

    def keys(schema: JsonSchema, path: str) -> set[str]:
        found: set[str] = set()
        for name, below in schema.get("properties", {}).items():
            if "const" not in below:
                found |= {f"{path}{name}", *keys(below, f"{path}{name}.")}
        for below in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            found |= keys(below, path)
        if "items" in schema:
            found |= keys(schema["items"], f"{path[:-1]}[].")
        if isinstance(schema.get("additionalProperties"), dict):
            found |= {f"{path}<name>", *keys(schema["additionalProperties"], f"{path}<name>.")}
        return found

    assert set(rows) == keys(SCHEMAS[described.name], "")
    assert all(line.count("|") - line.count("\\|") == 5 for line in page.splitlines()[4:])
