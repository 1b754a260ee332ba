"""The explorer of orders: it tries each that makes a difference, and no other twice."""

from __future__ import annotations

from math import comb

import pytest
from support.interleaving import Actor, Gate, Step, explore

ONE = Step("one", writes=True)
OTHER = Step("other", writes=True)
LOOK = Step("one", writes=False)


def tracks(*steps: tuple[Step, ...]) -> tuple[int, set[str]]:
    """How many orders were tried, and which."""
    seen: set[str] = set()

    def begin() -> list[Actor]:
        order: list[str] = []

        def actor(name: str, mine: tuple[Step, ...]) -> Actor:
            def play(gate: Gate) -> None:
                for each in mine:
                    gate(each)
                    order.append(name)
                seen.add("".join(order))

            return play

        return [actor(*each) for each in zip("abc", steps, strict=False)]

    tried = explore(begin)
    return tried, {each for each in seen if len(each) == sum(map(len, steps))}


@pytest.mark.parametrize(("first", "second"), [(1, 1), (2, 3), (4, 4)])
def test_all_orders_of_steps_that_matter_are_tried(first: int, second: int) -> None:
    tried, seen = tracks((ONE,) * first, (ONE,) * second)
    assert tried == len(seen) == comb(first + second, first)


def test_one_order_is_enough_where_none_matters() -> None:
    assert tracks((ONE,) * 4, (OTHER,) * 4)[0] == 1
    assert tracks((LOOK,) * 4, (LOOK,) * 4)[0] == 1
    assert tracks((), (ONE,))[0] == 1


def test_reads_matter_by_the_writes_between_them() -> None:
    assert tracks((LOOK,) * 3, (ONE,))[0] == 4
    assert tracks((LOOK, ONE), (LOOK, ONE))[0] == 4


def test_three_actors() -> None:
    assert tracks((ONE,), (ONE,), (ONE, ONE))[0] == 12


def test_a_lost_update_is_found() -> None:
    """Read, then write what was read and one more: some order loses one."""
    ends = set()

    def begin() -> list[Actor]:
        count = 0

        def add(gate: Gate) -> None:
            nonlocal count
            gate(LOOK)
            read = count
            gate(ONE)
            count = read + 1
            ends.add(count)

        return [add, add]

    explore(begin)
    assert ends == {1, 2}


def test_what_an_actor_raises_is_told_with_its_order() -> None:
    def begin() -> list[Actor]:
        def fail(gate: Gate) -> None:
            gate(ONE)
            raise RuntimeError("here")

        def wait(gate: Gate) -> None:
            gate(OTHER)

        return [fail, wait]

    with pytest.raises(RuntimeError) as caught:
        explore(begin)
    assert "writes=True" in caught.value.__notes__[0]
