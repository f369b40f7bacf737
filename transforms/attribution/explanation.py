"""What is known of a row once it is explained: the attributions, and how far they can be trusted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]

# F(x) − F(x′) smaller than this share of either is the rounding of a float32 network rather than a difference:
# outputs carry about 1e-7 a layer, so fewer than two of its digits would mean anything
FLAT_SHARE = 1e-5


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The attributions of some rows, in their order.

    Attributes:
        attributions: by explained input, float32 [rows, *shape].
        target: the explained entry of the output, int64 [rows]; None for a model with one output.
        output, baseline_output: F(x) and F(x′) at the target, float32 [rows].
        delta: Σ attributions − (F(x) − F(x′)), summed in float64 over what `attributions` holds, [rows].
        relative_delta: |delta| / max(|F(x) − F(x′)|, floor), float64 [rows].
        error_estimate: None: a fixed number of steps gives none.
        steps: gradient evaluations spent, int32 [rows].
        status: `ok`, `unconverged`, `flat` or `nonfinite`, [rows].
    """

    attributions: Mapping[str, Values]
    target: npt.NDArray[np.int64] | None
    output: Values
    baseline_output: Values
    delta: Doubles
    relative_delta: Doubles
    error_estimate: Doubles | None
    steps: npt.NDArray[np.int32]
    status: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.output)


def assess(
    attributions: Mapping[str, Values], output: Values, baseline_output: Values, tolerance: float
) -> tuple[Doubles, Doubles, npt.NDArray[np.str_]]:
    """Delta, relative delta and status of each row; arguments as in `Explanation`."""
    total = sum_rows(attributions)
    reached, start = output.astype(np.float64), baseline_output.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = reached - start
        floor = FLAT_SHARE * np.maximum(np.abs(reached), np.abs(start)) + np.finfo(np.float32).tiny
        delta = total - difference
        relative = np.abs(delta) / np.maximum(np.abs(difference), floor)
    status = np.where(relative <= tolerance, "ok", "unconverged")
    status = np.where(np.abs(difference) < floor, "flat", status)
    return delta, relative, np.where(np.isfinite(delta), status, "nonfinite")


def sum_rows(attributions: Mapping[str, Values]) -> Doubles:
    """Σ of each row's attributions over all inputs, in float64 [rows]; NaN if any is not finite."""
    with np.errstate(invalid="ignore"):
        sums = [value.reshape(len(value), -1).sum(axis=1, dtype=np.float64) for value in attributions.values()]
        total: Doubles = np.sum(sums, axis=0)
    return total
