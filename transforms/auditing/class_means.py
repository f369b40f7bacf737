"""The mean map of every class, to which its rows are compared."""

from __future__ import annotations

import numpy as np

from transforms.auditing.grouping import Grouping, blocks
from transforms.auditing.moments import Doubles, Values
from transforms.auditing.slicing import MAX_VALUES, OTHER, Coded, natural


class ClassSums:
    """Sums of maps by class; of too many classes the first ones, in natural order, the others together."""

    def __init__(self, max_values: int = MAX_VALUES) -> None:
        self._max_values = max_values
        self.rows, self.sums = dict[str, int](), dict[str, Doubles]()

    def add(self, values: Values, classes: Coded) -> None:
        """Add maps [rows, values], each of its class."""
        if not len(values):
            return
        grouping = Grouping.of([classes.codes])
        columns = grouping.columns(values)
        sums = np.empty((len(grouping.starts), len(columns)))
        for some in blocks(columns):
            sums[:, some] = grouping.by_cell(np.add, columns[some].astype(np.float64)).T
        counts = grouping.rows_of_cells()
        names = [classes.values[code] for code in grouping.sorted(classes.codes)[grouping.starts]]
        for name, count, total in zip(names, counts, sums, strict=True):
            self._put(name, int(count), total)
        self._fold()

    def merge(self, other: ClassSums) -> None:
        """Add what another one added."""
        for name, total in other.sums.items():
            self._put(name, other.rows[name], total)
        self._fold()

    def means(self) -> tuple[dict[str, int], Doubles]:
        """Where each class stands, and the means, [classes, values]; where maps differ in length, 0 beyond a map."""
        width = max((len(total) for total in self.sums.values()), default=0)
        found = np.zeros((len(self.sums), width))
        for place, (name, total) in enumerate(self.sums.items()):
            found[place, : len(total)] = total / self.rows[name]
        return {name: place for place, name in enumerate(self.sums)}, found

    def _put(self, name: str, rows: int, total: Doubles) -> None:
        self.rows[name] = self.rows.get(name, 0) + rows
        mine = self.sums.get(name, np.zeros(0))
        longer = np.zeros(max(len(mine), len(total)))
        longer[: len(mine)] = mine
        longer[: len(total)] += total
        self.sums[name] = longer

    def _fold(self) -> None:
        for name in sorted(set(self.sums) - {OTHER}, key=natural)[self._max_values :]:
            self._put(OTHER, self.rows.pop(name), self.sums.pop(name))
