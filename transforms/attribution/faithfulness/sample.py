"""Rows with their maps, and what is put in the place of features that are taken away from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.baseline_config import (
    Baseline,
    ColumnBaseline,
    GaussianBaseline,
    SamplesBaseline,
    draws,
)
from transforms.attribution.baselines.given import given_baseline
from transforms.attribution.baselines.references import References
from transforms.attribution.baselines.row_baselines import RowBaseline, row_baselines
from transforms.attribution.model.model_input import ModelInput

Values = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Sample:
    """Some rows of a run.

    Attributes:
        inputs: every model input, [rows, *shape].
        baselines: of inputs whose baseline is a column, [rows, *shape].
        target: the explained entry of the output, int64 [rows]; None for a model with one.
        maps: by explained input, the attributions as they were written, [rows, *shape] with a 1 for each axis that
            they were summed over.
    """

    row_ids: Sequence[str]
    inputs: Mapping[str, Values]
    baselines: Mapping[str, Values]
    target: npt.NDArray[np.int64] | None
    maps: Mapping[str, Values]

    def __len__(self) -> int:
        return len(self.row_ids)

    def finite(self) -> npt.NDArray[np.bool_]:
        """Which rows have finite maps, [rows]."""
        each = [np.isfinite(value).reshape(len(self), -1).all(axis=1) for value in self.maps.values()]
        return np.asarray(np.all(each, axis=0))

    def target_of(self, row: int) -> int | None:
        """The explained entry of a row's output."""
        return None if self.target is None else int(self.target[row])


def no_fill(fill: Baseline, own: Baseline) -> str | None:
    """Why a baseline cannot fill the place of features, if it cannot.

    Args:
        own: of the run that is evaluated: its column is read, and no other.
    """
    one, mine = (draws(baseline)[0][0] for baseline in (fill, own))
    if isinstance(one, GaussianBaseline):
        return "the baseline is the row itself with noise, which takes nothing away"
    if isinstance(one, ColumnBaseline) and one != mine:
        return "the fill is a column that this run does not read"
    return None


def filled(sample: Sample, fill: Mapping[str, Baseline], spec: ModelInput, seed: int, references: References) -> Values:
    """What takes the place of an input's features, [rows, *shape]: the first baseline, drawn as the run draws it.

    Args:
        fill: by input name; "" stands for every other.
        seed: of the run.
        references: what the fill takes of a dataset.

    Raises:
        UsageError: E_BASELINE_DATASET.
    """
    values = sample.inputs[spec.name].astype(spec.point_dtype, copy=False)
    one = draws(fill.get(spec.name, fill.get("", "zeros")))[0][0]
    if isinstance(one, ColumnBaseline):
        return given_baseline(sample.baselines[spec.name], spec, len(sample), values.shape[1:])
    if isinstance(one, SamplesBaseline):
        return references.samples(one, spec, seed, [("samples", 0, name) for name in sample.row_ids])[:, 0]
    if isinstance(one, RowBaseline):
        names = [("baseline", 0, spec.name, name) for name in sample.row_ids]
        return np.asarray(row_baselines(one, values, seed, names)[:, 0])
    return np.broadcast_to(references.shared(one, spec, values.shape[1:]), values.shape)
