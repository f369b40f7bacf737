"""What was explained, beside its explanation: the inputs of the rows that a report draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

Inputs = Mapping[str, npt.NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class Originals:
    """Inputs of rows, as they are fed.

    Attributes:
        rows: by source_file and source_row, each input's values, [*shape].
        reasons: why others are not there, in words for the reader.
    """

    rows: Mapping[tuple[str, int], Inputs] = dataclasses.field(default_factory=dict)
    reasons: Sequence[str] = ()

    def of(self, source_file: object, source_row: object) -> Inputs:
        """Those of one row; empty where they are not known."""
        known = source_row if isinstance(source_row, int) else -1
        return self.rows.get((str(source_file), known), {})
