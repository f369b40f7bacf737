"""Which labels are predicted as what: a label that is the name of a class meets a prediction that is its index."""

from __future__ import annotations

from collections import Counter

from pipeline.report import wording
from pipeline.report.stored import Stored


class Confusion:
    """The table `confusion`, looked up by label.

    Attributes:
        pairs: rows by (label, prediction), each the key of a class.
    """

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self.pairs = Counter[tuple[str, str]]()
        self.totals, self._right = Counter[str](), Counter[str]()
        self._wrong: dict[str, list[tuple[int, str]]] = {}
        for row in stored.audit["confusion"].to_pylist():
            self.pairs[stored.class_key(row["label"]), stored.class_key(row["predicted"])] += row["rows"]
        for (label, predicted), rows in self.pairs.items():
            self.totals[label] += rows
            if label == predicted:
                self._right[label] += rows
            else:
                self._wrong.setdefault(label, []).append((rows, predicted))

    @property
    def comparable(self) -> bool:
        """Whether labels and predictions have names in common: words beside indices cannot be told right or wrong."""
        return bool(set(self.totals) & {predicted for _, predicted in self.pairs})

    @property
    def right(self) -> float | None:
        """Share of the rows that are predicted right."""
        return self._right.total() / self.totals.total() if self.comparable else None

    def right_share(self, label: object) -> float | None:
        """Share of a label's rows that are predicted right."""
        key = self._stored.class_key(label)
        return self._right[key] / self.totals[key] if self.totals[key] and self.comparable else None

    def mistaken(self, label: object) -> list[tuple[int, str]]:
        """What else a label's rows are predicted as, most often first: how many of them, and the class."""
        return sorted(self._wrong.get(self._stored.class_key(label), []), key=lambda pair: (-pair[0], pair[1]))

    def agree(self, label: object, predicted: object) -> bool | None:
        """Whether a row is predicted right; None where that cannot be told."""
        if label is None or predicted is None or not self.comparable:
            return None
        return self._stored.class_key(label) == self._stored.class_key(predicted)


def class_anchor(stored: Stored, value: object) -> str:
    """Where the report tells of a label; nothing where it does not."""
    label = stored.label_of_class(stored.class_key(value))
    return "" if label is None else wording.anchor("class", label)
