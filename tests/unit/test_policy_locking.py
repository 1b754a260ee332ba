"""What a lock decides: which inputs, whether there is anything new, and whether it fits."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import digest, lock, ref
from support.strategies import digests, locks
from support.workshop import IMAGE

from imagectl.formats.lock_text import parse_lock, write_lock
from imagectl.model.digest import digest_of
from imagectl.model.image import Base, DebianBase, DiskBase, ParentBase
from imagectl.model.lock import (
    Access,
    Archive,
    DefinitionDigests,
    Expected,
    Lock,
    LockedBase,
    LockedDiskBase,
    LockedPackagesBase,
    LockedParentBase,
)
from imagectl.model.names import Format, parse_image_ref
from imagectl.policy.locking import (
    access_to_build,
    access_to_lock,
    changed_since,
    fingerprint,
    misfit,
    renewed,
)

LOCK = lock()
NOW = LOCK.definition
OTHER = replace(NOW, playbooks=digest("other playbooks"))


@pytest.mark.parametrize("lock", [None, LOCK])
@pytest.mark.parametrize("offline", [False, True])
def test_no_build_takes_what_is_not_locked_but_the_first(lock: Lock | None, offline: bool) -> None:
    access = access_to_build(lock, offline=offline)
    assert (access is Access.RECORD) == (lock is None and not offline)
    assert (access is Access.OFFLINE) == offline
    assert access is not Access.EXTEND


@pytest.mark.parametrize(
    ("lock", "now", "update", "access"),
    [
        (None, NOW, False, Access.RECORD),
        (None, NOW, True, Access.RECORD),
        (LOCK, NOW, False, None),
        (LOCK, OTHER, False, Access.EXTEND),
        (LOCK, NOW, True, Access.RECORD),
        (LOCK, OTHER, True, Access.RECORD),
    ],
)
def test_locking_takes_all_anew_only_where_it_is_asked_to(
    lock: Lock | None, now: DefinitionDigests, update: bool, access: Access | None
) -> None:
    assert access_to_lock(lock, now, update=update) is access


@pytest.mark.parametrize("part", [each.name for each in fields(DefinitionDigests)])
def test_what_changed_is_named(part: str) -> None:
    assert changed_since(LOCK, NOW) == ()
    assert changed_since(LOCK, replace(NOW, **{part: digest("other")})) == (part,)


@pytest.mark.parametrize(
    ("locked", "meant", "fits"),
    [
        (LockedPackagesBase("bookworm"), DebianBase("bookworm", ("git",)), True),
        (LockedPackagesBase("bookworm"), DebianBase("trixie"), False),
        (LockedDiskBase("a", digest("d"), 1), DiskBase("elsewhere", digest("d")), True),
        (LockedDiskBase("a", digest("d"), 1), DiskBase("a", digest("e")), False),
        (
            LockedParentBase(ref("base@20261120.1"), digest("t")),
            ParentBase(parse_image_ref("base:stable")),
            True,
        ),
        (
            LockedParentBase(ref("base@20261120.1"), digest("t")),
            ParentBase(parse_image_ref("base@20261120.1")),
            True,
        ),
        (
            LockedParentBase(ref("base@20261120.1"), digest("t")),
            ParentBase(parse_image_ref("base@20261120.2")),
            False,
        ),
        (
            LockedParentBase(ref("base@20261120.1"), digest("t")),
            ParentBase(parse_image_ref("other:stable")),
            False,
        ),
        (LockedPackagesBase("bookworm"), DiskBase("a", digest("d")), False),
        (LockedDiskBase("a", digest("d"), 1), ParentBase(parse_image_ref("a:b")), False),
    ],
)
def test_a_lock_fits_only_the_base_that_it_is_of(
    locked: LockedBase, meant: Base, fits: bool
) -> None:
    image = replace(IMAGE, base=meant)
    one = replace(LOCK, image=image.name, architecture=image.architecture, base=locked)
    assert (misfit(one, image) == "") is fits


@settings(max_examples=60, deadline=None)
@given(lock=locks, now=st.builds(DefinitionDigests, digests, digests, digests, digests))
def test_a_fingerprint_is_the_same_for_a_lock_that_was_written_and_read(
    lock: Lock, now: DefinitionDigests
) -> None:
    again = parse_lock(write_lock(lock), "images/x/image.lock")
    assert fingerprint(now, again, "1") == fingerprint(now, lock, "1")


EXPECTED = Expected(digest("t"), digest("r"), {Format.RAW: digest("f")})


@settings(max_examples=60, deadline=None)
@given(lock=locks, now=st.builds(DefinitionDigests, digests, digests, digests, digests))
def test_what_a_lock_expects_is_not_in_its_fingerprint(lock: Lock, now: DefinitionDigests) -> None:
    """Else a build of a changed definition, which renews it, would never be unchanged."""
    assert fingerprint(now, renewed(lock, now, EXPECTED), "1") == fingerprint(now, lock, "1")


@settings(max_examples=60, deadline=None)
@given(lock=locks, now=st.builds(DefinitionDigests, digests, digests, digests, digests))
def test_renewing_changes_no_input(lock: Lock, now: DefinitionDigests) -> None:
    after = renewed(lock, now, EXPECTED)
    assert replace(after, definition=lock.definition, expected=lock.expected) == lock
    assert (after.definition, after.expected) == (now, EXPECTED)
    assert changed_since(after, now) == ()


@pytest.mark.parametrize(
    "other",
    [
        replace(LOCK, epoch=LOCK.epoch + 1),
        replace(LOCK, mirrors={Archive.DEBIAN: "http://other.example/debian"}),
        replace(LOCK, toolchain=replace(LOCK.toolchain, tree=digest("other tools"))),
        replace(LOCK, base=LockedPackagesBase("trixie")),
        replace(LOCK, inputs=replace(LOCK.inputs, downloads=())),
        replace(LOCK, inputs=replace(LOCK.inputs, packages=LOCK.inputs.packages[1:])),
    ],
)
def test_whatever_decides_the_bytes_is_in_the_fingerprint(other: Lock) -> None:
    assert fingerprint(NOW, other, "1") != fingerprint(NOW, LOCK, "1")


def test_the_definition_and_the_tool_are_in_the_fingerprint() -> None:
    assert len({fingerprint(now, LOCK, tool) for now in (NOW, OTHER) for tool in "12"}) == 4


# --- digests of facts ---------------------------------------------------------------------------


def test_a_field_at_its_default_changes_no_digest() -> None:
    """So that a model that grows a field does not make every definition look changed."""
    assert digest_of(replace(IMAGE, build_cpus=2)) == digest_of(IMAGE)
    assert digest_of(replace(IMAGE, build_cpus=3)) != digest_of(IMAGE)


def test_facts_that_differ_in_type_alone_differ() -> None:
    facts = (1, "1", True, None, (1,), {"1": 1}, PurePosixPath("2"), DebianBase("x"))
    assert len({digest_of(fact) for fact in facts}) == len(facts)


def test_the_order_of_a_mapping_does_not_matter() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})


@pytest.mark.parametrize("fact", [{1, 2}, object(), b"x"])
def test_what_has_no_one_form_is_no_fact(fact: object) -> None:
    with pytest.raises(TypeError, match="no form that is the same everywhere"):
        digest_of(fact)
