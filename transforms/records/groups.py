"""Feature groups: a partition of an example's values, each part summed into one value with a name."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.errors import UsageError, quoted

Positions = Mapping[str, Sequence[int]]


@dataclasses.dataclass(frozen=True)
class FeatureGroups:
    """Every value in one group, groups in the order of their first positions.

    Attributes:
        names: a feature in no group is one of its own, named by its position.
        order: all positions, group by group.
        starts: where in `order` each group begins.
    """

    names: tuple[str, ...]
    order: tuple[int, ...]
    starts: tuple[int, ...]

    def fold(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Values [rows, values] summed to [rows, groups], in float64."""
        gathered = values[:, list(self.order)].astype(np.float64, copy=False)
        return np.add.reduceat(gathered, list(self.starts), axis=1)


def groups_by_input(groups: Mapping[str, Positions], explained: Sequence[str]) -> dict[str, Positions]:
    """`output.groups` by the inputs' names; those without one belong to the only explained input.

    Raises:
        UsageError: E_GROUPS.
    """
    if "" in groups and len(explained) > 1:
        raise UsageError(
            "E_GROUPS",
            f"output.groups names no input, but several are explained ({', '.join(explained)}); write"
            " groups: {INPUT: {NAME: [positions]}}",
        )
    named = {name or explained[0]: positions for name, positions in groups.items()}
    if unknown := sorted(set(named) - set(explained)):
        raise UsageError(
            "E_GROUPS", f"output.groups names {quoted(unknown[0])}; what is explained is {sorted(explained)}"
        )
    return named


def feature_groups(name: str, positions: Positions, size: int) -> FeatureGroups:
    """The groups of one input.

    Args:
        name: of the input, for errors.
        positions: by group, flat positions in an example.
        size: values of an example.

    Raises:
        UsageError: E_GROUPS: a group without positions, a position that is not there or in two groups, a group with
            the name of a position that is in none.
    """
    for group, members in positions.items():
        _check_group(f"output.groups: {quoted(group)} of input {quoted(name)}", members, size)
    taken = list(itertools.chain.from_iterable(positions.values()))
    twice = [position for position, count in collections.Counter(taken).items() if count > 1]
    if twice:
        holders = [group for group, members in positions.items() for member in members if member == twice[0]]
        raise UsageError(
            "E_GROUPS",
            f"output.groups: position {twice[0]} of input {quoted(name)} is listed twice, in"
            f" {quoted(holders[0])} and {quoted(holders[1])}; a value can be in one group only",
        )
    alone = {str(position): (position,) for position in sorted(set(range(size)) - set(taken))}
    if clash := sorted(set(alone) & set(positions)):
        raise UsageError(
            "E_GROUPS",
            f"output.groups: group {quoted(clash[0])} of input {quoted(name)} has the name of position {clash[0]},"
            " which is in no group; rename it",
        )
    return _partition({**positions, **alone})


def _check_group(where: str, members: Sequence[int], size: int) -> None:
    if not members:
        raise UsageError("E_GROUPS", f"{where} has no positions; list them, or leave the group out")
    for position in members:
        if not 0 <= position < size:
            raise UsageError(
                "E_GROUPS", f"{where} has position {position}; there are {size} values, 0 to {size - 1} (after reduce)"
            )


def _partition(members: Positions) -> FeatureGroups:
    ordered = sorted((sorted(positions), name) for name, positions in members.items())
    sizes = [len(positions) for positions, _ in ordered]
    return FeatureGroups(
        names=tuple(name for _, name in ordered),
        order=tuple(itertools.chain.from_iterable(positions for positions, _ in ordered)),
        starts=tuple(itertools.accumulate(sizes[:-1], initial=0)),
    )
