"""What is in a disk depends on its content, never on the holes of its file (P9)."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.disks import sparse_file

from imagectl.adapters.disk import blocks
from imagectl.adapters.disk.blocks import BLOCK
from imagectl.adapters.disk.parallel import in_order
from imagectl.adapters.disk.partitions import MIB
from imagectl.errors import Corrupt
from imagectl.model.names import Sha256

SIZE = 7 * MIB
PIECES = [
    [],
    [(0, b"a")],
    [(5 * MIB, b"a" * 5000)],
    [(0, b"a" * 4096), (3 * MIB + 4096, b"b" * 8192), (7 * MIB - 1, b"c")],
    [(2 * BLOCK - 1, b"xy")],
    [(0, b"x" * SIZE)],
    [(0, b"\0" * SIZE)],
    [(MIB, b"\0" * MIB), (2 * MIB, b"x")],
]
Pieces = Sequence[tuple[int, bytes]]


def filled(path: Path) -> list[tuple[int, bytes]]:
    with path.open("rb") as file:
        return list(blocks.filled_blocks(file.fileno(), 0, path.stat().st_size))


@pytest.mark.parametrize("pieces", PIECES)
def test_the_digest_is_that_of_the_whole_file(tmp_path: Path, pieces: Pieces) -> None:
    path = sparse_file(tmp_path / "sparse", SIZE, pieces)
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert blocks.describe_raw(path) == blocks.RawDisk(path, Sha256(expected), SIZE)


@pytest.mark.parametrize("pieces", PIECES)
def test_holes_and_zeros_are_the_same(tmp_path: Path, pieces: Pieces) -> None:
    sparse = sparse_file(tmp_path / "sparse", SIZE, pieces)
    full = tmp_path / "full"
    full.write_bytes(sparse.read_bytes())
    assert full.stat().st_blocks >= SIZE // 512
    found = filled(sparse)
    assert found == filled(full)
    assert all(offset % BLOCK == 0 and any(content) for offset, content in found)
    blocks.check_holds(sparse, [*found, (SIZE, b"")], full)
    blocks.write_sparse([*found, (SIZE, b"")], tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == full.read_bytes()


@pytest.mark.parametrize("size", [1, 511, BLOCK - 1, BLOCK + 1, MIB + 1, 3 * MIB - 512])
def test_any_length_will_do(tmp_path: Path, size: int) -> None:
    path = sparse_file(tmp_path / "odd", size, [(size - 1, b"x")])
    (found,) = filled(path)
    assert found[0] + len(found[1]) == size
    with path.open("rb") as file:
        assert blocks.filled_runs(file.fileno(), size) == [(found[0], len(found[1]))]


@settings(deadline=None, max_examples=60)
@given(st.sets(st.integers(0, 40)))
def test_runs_are_what_lies_side_by_side(
    tmp_path_factory: pytest.TempPathFactory, numbers: set[int]
) -> None:
    path = tmp_path_factory.mktemp("runs") / "disk"
    sparse_file(path, 41 * BLOCK, [(number * BLOCK + 5, b"x") for number in numbers])
    with path.open("rb") as file:
        runs = blocks.filled_runs(file.fileno(), 41 * BLOCK)
    covered = [block for at, length in runs for block in range(at // BLOCK, (at + length) // BLOCK)]
    assert covered == sorted(numbers)
    for (at, length), (then, _) in itertools.pairwise(runs):
        assert at + length < then
    path.unlink()


@pytest.mark.parametrize(
    "found",
    [
        [(0, b"a"), (SIZE, b"")],
        [(MIB, b"y"), (SIZE, b"")],
        [(MIB, b"x")],
        [(SIZE, b"")],
        [],
        [(MIB, b"x"), (SIZE - 1, b"")],
        [(MIB, b"x"), (SIZE + 1, b"")],
        [(MIB, b"x"), (MIB, b"x"), (SIZE, b"")],
        [(0, b"\0"), (MIB, b"x"), (2 * MIB, b"z"), (SIZE, b"")],
        [(MIB + 1, b""), (SIZE, b"")],
    ],
)
def test_any_other_disk_is_told(tmp_path: Path, found: Pieces) -> None:
    path = sparse_file(tmp_path / "disk", SIZE, [(MIB, b"x")])
    blocks.check_holds(path, [(MIB, b"x"), (SIZE, b"")], path)
    with pytest.raises(Corrupt, match="does not hold what was written"):
        blocks.check_holds(path, found, path)


def test_results_come_in_order_and_pieces_are_taken_as_needed() -> None:
    taken = 0

    def pieces() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    results = in_order(lambda number: number * 2, pieces())
    assert next(results) == 0
    assert taken <= 4 * len(os.sched_getaffinity(0))
    assert list(results) == [number * 2 for number in range(1, 1000)]


def test_an_error_of_one_piece_is_the_error_of_all() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda number: 1 / number, [2, 1, 0, 1]))
