"""Every way in which two actors' steps can follow one another, as far as it makes a difference.

An actor is ordinary code that says before each call to the outside what the call touches. It then
waits until it is its turn; so two actors in threads run in an order that is chosen here, one step
at a time, again and again from the beginning, until each order has been tried. Two steps that touch
different things, or only read, may follow one another either way with the same result: of such
orders one is tried. Where two steps were not like that, and nothing else put one after the other,
the other order is tried too (C. Flanagan, P. Godefroid, "Dynamic partial-order reduction", POPL
2005, for actors that never wait for one another; with the sleep sets of P. Godefroid,
"Partial-Order Methods", LNCS 1032, chapter 5).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Step:
    """A call to the outside: what it touches, and whether it may change that."""

    thing: str
    writes: bool

    def commutes(self, other: Step) -> bool:
        """Whether it makes no difference which of the two is first."""
        if EVERYTHING in (self.thing, other.thing):
            return False
        return self.thing != other.thing or not (self.writes or other.writes)


EVERYTHING = "everything"
"""What a step touches that touches more than one thing."""

Gate = Callable[[Step], None]
"""Returns when the step may be made."""

Actor = Callable[[Gate], None]
"""Does its work. What it raises ends everything."""


def explore(begin: Callable[[], Sequence[Actor]], end: Callable[[], None] = lambda: None) -> int:
    """Try every order. *begin* makes a new world and gives its actors; *end* looks at it after they
    have come to their ends. How many orders there were.

    Raises what an actor has raised, with a note of the order.
    """
    path: list[_Choice] = []
    tried = 0
    while True:
        if not _run(begin(), path):
            tried += 1
            end()
        while path and not path[-1].next():
            path.pop()
        if not path:
            return tried


@dataclass(slots=True)
class _Choice:
    """One point of an order: who could go on with what, who was let, and who need not be: the order
    with it first is the same as one that was tried before."""

    enabled: dict[int, Step]
    asleep: dict[int, Step]
    chosen: int
    wanted: set[int] = field(default_factory=set)
    """Who was found to have to be first here, too."""
    done: set[int] = field(default_factory=set)

    def next(self) -> bool:
        """Choose another one; False where none is left."""
        self.done.add(self.chosen)
        left = sorted(self.wanted - self.done - set(self.asleep))
        if left:
            self.chosen = left[0]
        return bool(left)

    @property
    def step(self) -> Step:
        return self.enabled[self.chosen]

    def asleep_after(self) -> dict[int, Step]:
        resting = {**self.asleep, **{each: self.enabled[each] for each in self.done}}
        return {who: other for who, other in resting.items() if self.step.commutes(other)}


def _find_races(path: Sequence[_Choice], waiting: Mapping[int, Step]) -> None:
    """Ask for the other order of each step that is waiting, and the last one of another actor
    before it with which it does not commute."""
    for who, step in waiting.items():
        for at in reversed(range(len(path))):
            choice = path[at]
            if choice.chosen != who and not choice.step.commutes(step):
                if not _follows(path, at, who):
                    choice.wanted.add(who)
                break


def _follows(path: Sequence[_Choice], at: int, who: int) -> bool:
    """Whether anything that the actor has done already had to come after that step of another."""
    after = [path[at]]
    for choice in path[at + 1 :]:
        if any(
            choice.chosen == each.chosen or not choice.step.commutes(each.step) for each in after
        ):
            if choice.chosen == who:
                return True
            after.append(choice)
    return False


class _Stopped(BaseException):
    """This order has been tried before."""


def _run(actors: Sequence[Actor], path: list[_Choice]) -> bool:
    """Follow *path*, and go on from its end, which is added to it. True where the order turned out
    to be one that was tried before."""
    stage = _Stage(actors)
    asleep: dict[int, Step] = {}
    depth = 0
    fresh = len(path)
    while enabled := stage.waiting():
        if depth >= fresh:
            _find_races(path[:depth], enabled)
        if depth == len(path):
            awake = [each for each in enabled if each not in asleep]
            if not awake:
                stage.stop()
                return True
            path.append(_Choice(enabled, asleep, awake[0]))
        choice = path[depth]
        assert choice.enabled == enabled, "the actors do the same each time"
        asleep = choice.asleep_after()
        stage.let(choice.chosen)
        depth += 1
    stage.stop()
    if stage.trouble is not None:
        order = [f"{each.chosen}: {each.step}" for each in path]
        stage.trouble.add_note("\n".join(order))
        raise stage.trouble
    return False


class _Stage:
    """Actors in threads, all of which wait but one."""

    def __init__(self, actors: Sequence[Actor]) -> None:
        self.trouble: BaseException | None = None
        self._waiting: dict[int, Step] = {}
        self._turns = [threading.Semaphore(0) for _ in actors]
        self._rest = threading.Semaphore(0)
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._play, args=each, daemon=True)
            for each in enumerate(actors)
        ]
        for thread in self._threads:  # each runs to its first step before the next one begins
            thread.start()
            self._rest.acquire()

    def waiting(self) -> dict[int, Step]:
        """Who is about to make which step."""
        return {} if self.trouble else dict(sorted(self._waiting.items()))

    def let(self, who: int) -> None:
        """Let it make its step, and go on to its next one."""
        del self._waiting[who]
        self._turns[who].release()
        self._rest.acquire()

    def stop(self) -> None:
        """End what has not ended."""
        self._stopped = True
        for who in tuple(self._waiting):
            self.let(who)
        for thread in self._threads:
            thread.join()

    def _play(self, who: int, actor: Actor) -> None:
        def gate(step: Step) -> None:
            if self._stopped:
                raise _Stopped
            self._waiting[who] = step
            self._rest.release()
            self._turns[who].acquire()
            if self._stopped:
                raise _Stopped

        try:
            actor(gate)
        except _Stopped:
            pass
        except BaseException as trouble:
            self.trouble = trouble
        self._rest.release()
