"""Breadth-first search through every state that can be reached; a fault is shown by a shortest way to it."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Generic, TypeVar

State = TypeVar("State", bound=Hashable)
Value = TypeVar("Value", bound=Hashable)
Step = tuple[str, State]


@dataclasses.dataclass(frozen=True)
class Explored:
    """What was found.

    Attributes:
        states, transitions: seen, up to the first fault.
        fault: what is wrong, if anything; trace: the steps from the beginning to it, as few as there can be.
    """

    states: int
    transitions: int
    fault: str | None = None
    trace: tuple[str, ...] = ()


class Numbered(Generic[Value]):
    """Numbers for values, so that states are short tuples of integers, quick to compare."""

    def __init__(self) -> None:
        self._numbers: dict[Value, int] = {}
        self._values: list[Value] = []

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, number: int) -> Value:
        return self._values[number]

    def number(self, value: Value) -> int:
        """That of a value, a new one at its first sight."""
        found = self._numbers.setdefault(value, len(self._values))
        if found == len(self._values):
            self._values.append(value)
        return found


def explore(
    initial: State,
    steps: Callable[[State], Iterable[Step[State]]],
    fault: Callable[[State, State], str | None],
    limit: int = 10**7,
) -> Explored:
    """Take every step from every state, in the order of their distance from the first.

    Args:
        steps: from a state → what can happen next, each with the state after it.
        fault: (state before, state after) → what is wrong with the later one, or with the step to it.

    Raises:
        OverflowError: there are more states than `limit`.
    """
    came: dict[State, Step[State] | None] = {initial: None}
    waiting, transitions = deque([initial]), 0
    while waiting:
        state = waiting.popleft()
        for label, after in steps(state):
            transitions += 1
            wrong = fault(state, after)
            if wrong:
                return Explored(len(came), transitions, wrong, (*_way(came, state), label))
            if after not in came:
                came[after] = (label, state)
                waiting.append(after)
        if len(came) > limit:
            raise OverflowError(f"more than {limit} states")
    return Explored(len(came), transitions)


def _way(came: dict[State, Step[State] | None], state: State) -> Iterator[str]:
    labels, step = list[str](), came[state]
    while step is not None:
        labels.append(step[0])
        step = came[step[1]]
    return reversed(labels)
