"""Baselines that come from a dataset, as a worker or a notebook holds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.baseline_config import (
    MaxEntropyBaseline,
    SamplesBaseline,
    SingleBaseline,
    dataset_kind,
    draws,
)
from transforms.attribution.baselines.dataset_summary import (
    Request,
    Summary,
    Wanted,
    nothing,
    request,
    sample_key,
    summary_of,
)
from transforms.attribution.baselines.given import constant, given_baseline
from transforms.attribution.baselines.max_entropy import Domain, search
from transforms.attribution.baselines.row_baselines import draw_rows
from transforms.attribution.config import AttributionConfig
from transforms.attribution.model.model import Model
from transforms.attribution.model.model_input import ModelInput
from transforms.errors import UsageError

Values = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, eq=False)
class References:
    """What baselines take of a dataset.

    Attributes:
        arrays: by explained input and kind: `min`, `max`, `mean`, `median`, `max_entropy`, each [*shape]; `samples`,
            [pool, *shape], the same rows in the same order for every input.
    """

    arrays: Mapping[str, Mapping[str, Values]] = dataclasses.field(default_factory=dict)

    def shared(self, baseline: SingleBaseline, spec: ModelInput, shape: tuple[int, ...]) -> Values:
        """A baseline that all rows share, [*shape] in the input's point dtype.

        Raises:
            UsageError: E_BASELINE_DATASET when it is of a dataset and not here, E_BASELINE_SHAPE, E_BASELINE_DTYPE.
        """
        kind = dataset_kind(baseline)
        if kind is None:
            return constant(baseline, spec, shape)
        found: Values = given_baseline(self._array(kind, spec), spec, 1, shape)[0]
        return found

    def samples(
        self, baseline: SamplesBaseline, spec: ModelInput, seed: int, names: Sequence[tuple[object, ...]]
    ) -> Values:
        """The rows that are drawn for each row, [rows, samples, *shape] in the input's point dtype.

        Args:
            names: of each row, what its draws depend on beside the seed: the same for all inputs.

        Raises:
            UsageError: E_BASELINE_DATASET when no rows are here.
        """
        pool = self.pool(spec)
        drawn: Values = pool[draw_rows(len(pool), baseline.samples, seed, names)]
        return drawn

    def pool(self, spec: ModelInput) -> Values:
        """The rows that samples are drawn from, [pool, *shape] in the input's point dtype.

        Raises:
            UsageError: E_BASELINE_DATASET when no rows are here.
        """
        found: Values = self._array("samples", spec).astype(spec.point_dtype, copy=False)
        return found

    def _array(self, kind: str, spec: ModelInput) -> Values:
        if kind not in self.arrays.get(spec.name, {}):
            raise UsageError(
                "E_BASELINE_DATASET",
                f"the baseline of {spec.name!r} is {kind} of a dataset that is not given; hand the Explainer"
                " `references`, from `references_of_rows`, say",
            )
        return self.arrays[spec.name][kind]


def references_of(summary: Summary, wanted: Request, config: AttributionConfig, model: Model) -> References:
    """From the summary of a dataset to what baselines take of it, the search for the greatest entropy included.

    Raises:
        UsageError: E_INPUT_NO_ROWS for the summary of no rows, and what `search` raises.
    """
    if not summary.rows:
        raise UsageError("E_INPUT_NO_ROWS", "not one row of the dataset can be used for a baseline; check input")
    arrays = {one.name: _arrays(summary, one, wanted.pool_rows) for one in wanted.inputs}
    singles = [one for spec in model.explained for one, _ in draws(config.baseline_of(spec.name))]
    entropy = next((one for one in singles if isinstance(one, MaxEntropyBaseline)), None)
    if entropy is not None:
        domains = {
            name: Domain(summary.low[name], summary.high[name], summary.total[name] / summary.rows) for name in arrays
        }
        for name, value in search(model, domains, entropy.max_entropy).items():
            arrays[name]["max_entropy"] = value
    return References(arrays)


def references_of_rows(rows: Mapping[str, Values], config: AttributionConfig, model: Model) -> References:
    """What baselines take of a dataset that is at hand, by input [rows, *shape]: for notebooks.

    Raises:
        UsageError: E_BASELINE_DATASET for an explained input that is not given, and what `references_of` raises.
    """
    wanted = request(config, model.inputs, {name: value.shape[1:] for name, value in rows.items()})
    count = max((len(value) for value in rows.values()), default=0)
    keys = [sample_key(wanted.seed, str(row), "", row) for row in range(count)]
    if not wanted.inputs:
        return References()
    return references_of(summary_of(rows, keys, wanted) if count else nothing(), wanted, config, model)


def _arrays(summary: Summary, one: Wanted, pool_rows: int) -> dict[str, Values]:
    found: dict[str, Values] = {}
    if "min" in one.kinds:
        found["min"] = summary.low[one.name]
    if "max" in one.kinds:
        found["max"] = summary.high[one.name]
    if "mean" in one.kinds:
        found["mean"] = (summary.total[one.name] / summary.rows).astype(one.dtype)
    if "median" in one.kinds:
        found["median"] = np.median(summary.sample[one.name].astype(np.float64), axis=0).astype(one.dtype)
    if "samples" in one.kinds:
        found["samples"] = summary.sample[one.name][:pool_rows]
    return found
