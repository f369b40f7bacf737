"""Where the paths of some rows start: z and F at their baselines, computed once where rows share them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.baseline_config import ColumnBaseline, draws
from transforms.attribution.baselines import given as base
from transforms.attribution.baselines.references import References
from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig
from transforms.attribution.engine.compute import Compute
from transforms.attribution.engine.kernel import Shape
from transforms.attribution.engine.refusals import check_shared, first_fault
from transforms.attribution.explanation import Faults
from transforms.attribution.model.model import Model
from transforms.attribution.model.model_input import ModelInput
from transforms.errors import UsageError

Values = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Start:
    """The baselines of some rows: each explained input of the head, [rows | 1, *shape], and F, [rows | 1, classes];
    why one of them cannot be computed, [rows | 1]."""

    heads: list[Values]
    outputs: Values
    faults: Faults


class Starts:
    """The starts of a model's rows under one configuration."""

    def __init__(self, model: Model, config: AttributionConfig, references: References) -> None:
        self._model, self._config, self._references = model, config, references
        self._shared: dict[tuple[Shape, ...], Start] = {}
        self._pool: Start | None = None

    def baselines(self, batch: Batch) -> list[Values]:
        """Of each explained input, [rows | 1, *shape]."""
        return [self._baseline(batch, spec) for spec in self._model.explained]

    def _baseline(self, batch: Batch, spec: ModelInput) -> Values:
        rows, shape = len(batch.inputs[spec.name]), batch.inputs[spec.name].shape[1:]
        if spec.name in batch.baselines:
            return base.given_baseline(batch.baselines[spec.name], spec, rows, shape)
        baseline = self._config.baseline_of(spec.name)
        if isinstance(baseline, ColumnBaseline):
            raise UsageError("E_BASELINE_MISSING", f"the baseline of {spec.name!r} is a column; give its values")
        (one, _), *_ = draws(baseline)
        return self._references.shared(one, spec, shape)[np.newaxis]

    def of(self, batch: Batch, inputs: list[Values], baselines: list[Values], compute: Compute) -> Start:
        """z and F at the baselines, one for all rows where they share it; that of the configuration is kept."""
        given, rows = iter(baselines), len(inputs[0])
        known = [next(given) if spec.explained else batch.held_starts.get(spec.name) for spec in self._model.inputs]
        one_for_all = [value for value in known if value is not None and len(value) == 1]
        if len(one_for_all) < len(inputs):
            fed = [
                value if start is None else np.broadcast_to(start, (rows, *value.shape[1:]))
                for start, value in zip(known, inputs, strict=True)
            ]
            return self._start_at(fed, compute) if batch.alike == 1 else self._start_at_each(fed, compute)
        if batch.baselines or batch.lengths:  # of these rows alone: padding is as it is in them
            return self._shared_start(one_for_all, compute)
        key = tuple(value.shape for value in baselines)
        if key not in self._shared:
            self._shared[key] = self._shared_start(baselines, compute)
        return self._shared[key]

    def mean(self, batch: Batch, inputs: list[Values], draws: list[Values], compute: Compute) -> Start:
        """The mean of F over each row's baselines, [rows, draws, *shape] of each explained input."""
        if batch.samples is not None and len(self._model.explained) == len(inputs):
            pool = self._at_pool(compute)
            outputs = pool.outputs[batch.samples].mean(axis=1, dtype=np.float64)
            return Start([], outputs, first_fault(pool.faults[batch.samples]))
        given, (rows, count) = iter(draws), draws[0].shape[:2]
        known = [next(given) if spec.explained else batch.held_starts.get(spec.name) for spec in self._model.inputs]
        each = [
            np.broadcast_to(value[:, np.newaxis] if start is None else start, (rows, count, *value.shape[1:]))
            for start, value in zip(known, inputs, strict=True)
        ]
        start = self._start_at_each([value.reshape(-1, *value.shape[2:]) for value in each], compute)
        outputs = start.outputs.reshape(rows, count, -1).mean(axis=1, dtype=np.float64)
        return Start([], outputs, first_fault(start.faults.reshape(rows, count)))

    def _at_pool(self, compute: Compute) -> Start:
        """Of all rows that baselines are drawn from."""
        if self._pool is None:
            self._pool = self._start_at([self._references.pool(spec) for spec in self._model.explained], compute)
        return self._pool

    def _shared_start(self, fed: list[Values], compute: Compute) -> Start:
        start = self._start_at(fed, compute)
        check_shared(start.faults)
        return start

    def _start_at(self, fed: list[Values], compute: Compute) -> Start:
        heads, outputs, faults = compute.forward(fed)
        explained = [value for value, spec in zip(heads, compute.kernel.heads, strict=True) if spec.explained]
        return Start(explained, outputs, faults)

    def _start_at_each(self, fed: list[Values], compute: Compute) -> Start:
        """Once for those that are equal: copies of different rows share many baselines."""
        _, first, which = np.unique(_checksums(fed), return_index=True, return_inverse=True)
        # rows that differ may still have one checksum, and NaN equals nothing
        if not all(np.array_equal(value[first][which], value) for value in fed):
            return self._start_at(fed, compute)
        start = self._start_at([value[first] for value in fed], compute)
        return Start([value[which] for value in start.heads], start.outputs[which], start.faults[which])


def _checksums(values: list[Values]) -> npt.NDArray[np.uint64]:
    """A number for each row of [rows, *shape] arrays, the same where rows are the same, and hardly else."""
    numbers, found = np.random.default_rng(0), np.zeros(len(values[0]), np.uint64)
    for value in values:
        flat = np.ascontiguousarray(value).reshape(len(value), -1)
        words = flat.view(np.uint32 if flat.itemsize % 4 == 0 else np.uint8)
        found += words @ numbers.integers(2**64, size=words.shape[1], dtype=np.uint64)
    return found
