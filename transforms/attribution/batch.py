"""What a caller hands over to be explained: arrays by input name, checked against the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.explanation import Faults
from transforms.attribution.model.model_input import ModelInput
from transforms.errors import UsageError

Values = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows to explain.

    Attributes:
        inputs: every model input by name, [rows, *shape].
        labels: int64 [rows], for `target: label`.
        baselines: by explained input, [*shape] or [rows, *shape]; those left out follow the configuration.
        rounding: relative L1 error that is known beforehand, float64 [rows, targets]; it adds to the estimate.
        row_ids: of the rows; with the seed they decide what is drawn for a row. None: their positions.
        chosen: int64 [rows, targets], the explained entries of the output where they are known beforehand.
        predicted: int64 [rows], the largest entries at the row itself, where they are known beforehand.
        alike: so many rows, one after another, have the same inputs, all through the batch.
        sigma: of Gaussian baselines, float64 [rows], instead of what the configuration says.
        draws: by explained input, noisy copies of each row, or its baselines, [rows, draws, *shape], for a method that
            takes one gradient for each.
        samples: which rows of the dataset's pool the draws are, int64 [rows, draws]; None: not just that.
        places: α of the point between the row and each of them, float64 [rows, draws], where the method draws it.
        held_starts: by held input, [1, *shape]: what it is at the baseline, where that is not what it is in the row.
        faults: why rows cannot be explained, [rows] with None for all others; None: there are none so far.
        lengths: by input whose rows are filled up to one length, their own ones, int64 [rows]. What is beyond is
            padding: it stays as it is on every path.
    """

    inputs: Mapping[str, Values]
    labels: npt.NDArray[np.int64] | None = None
    baselines: Mapping[str, Values] = dataclasses.field(default_factory=dict)
    rounding: npt.NDArray[np.float64] | None = None
    row_ids: Sequence[str] | None = None
    chosen: npt.NDArray[np.int64] | None = None
    predicted: npt.NDArray[np.int64] | None = None
    alike: int = 1
    sigma: npt.NDArray[np.float64] | None = None
    draws: Mapping[str, Values] = dataclasses.field(default_factory=dict)
    samples: npt.NDArray[np.int64] | None = None
    places: npt.NDArray[np.float64] | None = None
    held_starts: Mapping[str, Values] = dataclasses.field(default_factory=dict)
    faults: Faults | None = None
    lengths: Mapping[str, npt.NDArray[np.int64]] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def some(self, rows: npt.NDArray[np.int64]) -> Batch:
        """The chosen rows."""
        per_row = {
            name: value.ndim == self.inputs[name].ndim and len(value) == len(self)
            for name, value in self.baselines.items()
        }
        return Batch(
            {name: value[rows] for name, value in self.inputs.items()},
            None if self.labels is None else self.labels[rows],
            {name: value[rows] if per_row[name] else value for name, value in self.baselines.items()},
            None if self.rounding is None else self.rounding[rows],
            None if self.row_ids is None else [self.row_ids[row] for row in rows],
            None if self.chosen is None else self.chosen[rows],
            None if self.predicted is None else self.predicted[rows],
            held_starts=self.held_starts,
            faults=None if self.faults is None else self.faults[rows],
            sigma=None if self.sigma is None else self.sigma[rows],
            lengths={name: value[rows] for name, value in self.lengths.items()},
        )


def by_name(values: Any, specs: tuple[ModelInput, ...]) -> Mapping[str, Any]:
    """An array for the only input, or a mapping, as a mapping.

    Raises:
        UsageError: E_INPUT_NAME for a name that no input has, or an array where there are several inputs.
    """
    names = {spec.name for spec in specs}
    if not isinstance(values, Mapping):
        if len(names) > 1:
            raise UsageError("E_INPUT_NAME", f"the model has the inputs {sorted(names)}; give a dict with each")
        return {next(iter(names)): values}
    if not set(values) <= names:
        raise UsageError("E_INPUT_NAME", f"{sorted(set(values) - names)} are not among {sorted(names)}")
    return values


def check_inputs(inputs: Mapping[str, Values], specs: tuple[ModelInput, ...]) -> None:
    """Refuse what the model would not take.

    Raises:
        UsageError: E_INPUT_SHAPE, E_INPUT_DTYPE.
    """
    rows = {len(value) if value.ndim else 0 for value in inputs.values()}
    if len(inputs) < len(specs) or len(rows) != 1 or 0 in rows:
        found = {name: value.shape for name, value in inputs.items()}
        raise UsageError("E_INPUT_SHAPE", f"give every input with the same number of rows; found {found}")
    for spec in specs:
        _check_input(spec, inputs[spec.name])


def _check_input(spec: ModelInput, value: Values) -> None:
    fits = len(value.shape) == len(spec.shape) + 1 and all(
        wanted in (None, found) for wanted, found in zip(spec.shape, value.shape[1:], strict=True)
    )
    if not fits:
        raise UsageError(
            "E_INPUT_SHAPE", f"input {spec.name!r} has the shape {value.shape}; the model wants [rows, {spec.shape}]"
        )
    if not np.can_cast(value.dtype, spec.dtype, "same_kind"):
        raise UsageError(
            "E_INPUT_DTYPE", f"input {spec.name!r} is {value.dtype}; the model wants {spec.dtype}: convert it yourself"
        )
