"""What is known of a row once it is explained: the attributions, and how far they can be trusted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.errors import Fault

Values = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
# Why rows cannot be explained, [rows]: a Fault, or None
Faults = npt.NDArray[np.object_]

# F(x) − F(x′) smaller than this share of either is the rounding of a float32 network rather than a difference:
# outputs carry about 1e-7 a layer, so fewer than two of its digits would mean anything
FLAT_SHARE = 1e-5
LOST = Fault(
    "E_OUT_OF_MEMORY",
    "one gradient of this row needs more memory than there is; give the worker more, or explain smaller inputs",
)


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The attributions of some rows, in their order; with several targets, a row's targets one after another.

    Attributes:
        rows: which row of the batch each of them is, int64 [n].
        attributions: by explained input, float32 [n, *shape].
        target: the explained entry of the output, int64 [n]; None for a model with one output.
        target_rank: 0 for a row's largest output, 1 for the next, int32 [n]; None with one target a row.
        predicted: the largest entry of the output at x, whatever is explained, int64 [n]; None for a model with one
            output, and where a method asks for no output at x but the target's: one gradient, and nothing else.
        output, baseline_output: F(x) and F(x′) at the target, float32 [n].
        delta: Σ attributions − (F(x) − F(x′)), summed in float64 over what `attributions` holds, [n].
        relative_delta: |delta| / max(|F(x) − F(x′)|, floor), float64 [n].
        error_estimate: relative L1 distance between the attributions at the last two levels, and in a lower precision
            the rounding besides, float64 [n]; None, or NaN beside rows that have one: a fixed number of steps in
            float32 gives none.
        steps: gradient evaluations spent, int32 [n].
        blind_share: of the row's features, those equal to their baseline, float32 [n].
        baseline_spread: with several baselines, Σ standard deviation of their attributions over Σ |mean|, float32 [n];
            else None.
        status: `ok`, `unconverged`, `flat` or `nonfinite`, [n].
        faults: rows of the batch that could not be explained: E_OUT_OF_MEMORY, E_MODEL_INPUT_VALUE.
        lengths: by explained tensor whose rows are filled up to one length, their own ones, int64 [n]; the
            attributions beyond are 0.
    """

    rows: npt.NDArray[np.int64]
    attributions: Mapping[str, Values]
    target: npt.NDArray[np.int64] | None
    target_rank: npt.NDArray[np.int32] | None
    predicted: npt.NDArray[np.int64] | None
    output: Values
    baseline_output: Values
    delta: Doubles
    relative_delta: Doubles
    error_estimate: Doubles | None
    steps: npt.NDArray[np.int32]
    blind_share: Values
    baseline_spread: Values | None
    status: npt.NDArray[np.str_]
    faults: Mapping[int, Fault]
    lengths: Mapping[str, npt.NDArray[np.int64]] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.output)

    def some(self, chosen: npt.NDArray[Any]) -> Explanation:
        """The chosen entries, by mask or position, without faults."""
        taken: dict[str, Any] = {
            name: None if value is None else value[chosen] for name, value in self._arrays().items()
        }
        values = {name: value[chosen] for name, value in self.attributions.items()}
        lengths = {name: value[chosen] for name, value in self.lengths.items()}
        return dataclasses.replace(self, **taken, attributions=values, faults={}, lengths=lengths)

    def _arrays(self) -> dict[str, Any]:
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names if name not in ("attributions", "faults", "lengths")}


def joined(parts: Sequence[Explanation]) -> Explanation:
    """Explanations of different rows of one batch as one, in the order of the rows."""
    together: dict[str, Any] = {
        name: None if value is None else np.concatenate([part._arrays()[name] for part in parts])
        for name, value in parts[0]._arrays().items()
    }
    values = {name: np.concatenate([part.attributions[name] for part in parts]) for name in parts[0].attributions}
    faults = {row: fault for part in parts for row, fault in part.faults.items()}
    lengths = {name: np.concatenate([part.lengths[name] for part in parts]) for name in parts[0].lengths}
    whole = dataclasses.replace(parts[0], **together, attributions=values, lengths=lengths)
    return dataclasses.replace(whole.some(np.argsort(whole.rows, kind="stable")), faults=faults)


def of_batch(found: Explanation, rows: npt.NDArray[np.int64]) -> Explanation:
    """The explanation of some rows of a batch, under their numbers in it."""
    faults = {int(rows[row]): fault for row, fault in found.faults.items()}
    return dataclasses.replace(found, rows=rows[found.rows], faults=faults)


@dataclasses.dataclass(frozen=True)
class Assessment:
    """How good some attributions are; as in `Explanation`, of any leading shape.

    Attributes:
        converged: whether relative delta and estimate are within the tolerance. A flat row has no difference of
            outputs to compare with: its estimate decides.
    """

    delta: Doubles
    relative_delta: Doubles
    status: npt.NDArray[np.str_]
    converged: npt.NDArray[np.bool_]


def assess(
    attributions: Mapping[str, Values],
    output: Values,
    baseline_output: Values,
    tolerance: float,
    estimate: Doubles | None,
    complete: bool = True,
) -> Assessment:
    """Delta, relative delta and status of attributions [..., *shape] at outputs of the shape [...].

    Args:
        complete: whether the method promises a delta of 0; without, delta decides nothing.
    """
    total = sum_rows(attributions, np.ndim(output))
    reached, start = np.asarray(output, np.float64), np.asarray(baseline_output, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = reached - start
        floor = FLAT_SHARE * np.maximum(np.abs(reached), np.abs(start)) + np.finfo(np.float32).tiny
        delta = total - difference
        relative = np.abs(delta) / np.maximum(np.abs(difference), floor)
        flat = complete & (np.abs(difference) < floor)
        near = (relative <= tolerance) | (not complete)
        steady = np.ones(flat.shape, dtype=bool) if estimate is None else estimate <= tolerance
    status = np.where(near & steady, "ok", "unconverged")
    status = np.where(np.isfinite(delta), np.where(flat, "flat", status), "nonfinite")
    return Assessment(delta, relative, status, steady & (flat | near))


def share(part: Doubles, whole: Doubles) -> Doubles:
    """Part over whole; no part of nothing is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Doubles = np.where(part == 0, 0.0, part / whole)
    return found


def sum_rows(attributions: Mapping[str, Values], leading: int = 1) -> Doubles:
    """Σ of each row's attributions over all inputs and all but the `leading` axes, in float64; NaN if one is."""
    with np.errstate(invalid="ignore"):
        sums = [value.sum(axis=tuple(range(leading, value.ndim)), dtype=np.float64) for value in attributions.values()]
        total: Doubles = np.sum(sums, axis=0)
    return total
