"""From a batch to the work that its rows are, and from finished work to their explanation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution import targets
from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig
from transforms.attribution.engine import padding
from transforms.attribution.engine.compute import Compute
from transforms.attribution.engine.drawn_work import DrawnWork, Draws
from transforms.attribution.engine.kernel import Shape
from transforms.attribution.engine.precision import Course
from transforms.attribution.engine.refusals import no_faults
from transforms.attribution.engine.starts import Start, Starts
from transforms.attribution.engine.work import Chosen, Work, span
from transforms.attribution.explanation import Explanation, Faults, assess
from transforms.attribution.methods.method import Method
from transforms.attribution.model.model import Model

Values = npt.NDArray[Any]


class Works:
    """The works of one model under one configuration.

    Args:
        compute: by the shapes of the model's inputs, what computes in float32.
    """

    def __init__(
        self,
        model: Model,
        config: AttributionConfig,
        method: Method,
        starts: Starts,
        compute: Callable[[list[Shape]], Compute],
    ) -> None:
        self._model, self._config, self._method = model, config, method
        self._starts, self._compute, self._tried = starts, compute, False

    def shapes(self, batch: Batch) -> list[Shape]:
        """Of the batch's inputs, in the model's order."""
        return [batch.inputs[spec.name].shape[1:] for spec in self._model.inputs]

    def outputs(self, batch: Batch) -> Values:
        """F at the inputs, [rows, classes]; NaN where it cannot be computed."""
        table: Values = self._compute(self.shapes(batch)).forward(self._fed(batch))[1]
        return table

    def chosen(self, batch: Batch) -> Batch:
        """The batch with the entries of the output that are explained, and the largest ones."""
        known, table = self._known(batch), self.outputs(batch)
        target = targets.choose(self._config, table) if known is None else known
        return dataclasses.replace(batch, chosen=target, predicted=self._predicted(table))

    def begin(self, batch: Batch) -> Work:
        """F at the rows and at their baselines, where they do not come with the gradients."""
        compute = self._compute(self.shapes(batch))
        inputs = self._fed(batch)
        explained = [value for value, spec in zip(inputs, self._model.inputs, strict=True) if spec.explained]
        draws = self._draws(batch, explained) if self._method.drawn else None
        if draws is not None and draws.baselines:
            baselines = draws.values
        else:
            baselines = padding.held(batch, self._model, explained, self._starts.baselines(batch))
        target = self._known(batch) if batch.chosen is None else batch.chosen
        if target is not None and self._method.drawn == "input":
            heads, predicted, faults = inputs, None, no_faults(1)
            output = np.full(target.shape, np.nan, np.float32)
        else:
            heads, table, faults = _forward(batch, inputs, compute)
            target = targets.choose(self._config, table) if target is None else target
            predicted = self._predicted(table)
            output = np.take_along_axis(table, target, axis=1)
        start = self._start(batch, inputs, baselines, compute)
        start_row = np.arange(len(batch) if len(start.outputs) > 1 else 1)[:, np.newaxis]
        if batch.predicted is not None:
            predicted = batch.predicted
        chosen = Chosen(target, output, start.outputs[start_row, target], predicted, batch.places)
        if self._method.try_first and not self._tried:
            self._method.try_first(explained, baselines)
            self._tried = True
        if draws is None:
            work = Work(explained, baselines, heads, start.heads, chosen, self._method.factor)
        else:
            work = DrawnWork(explained, baselines, heads, draws, chosen)
        for known in (batch.faults, faults, start.faults):
            if known is not None:
                work.lose(np.arange(len(batch)), known)
        if batch.rounding is not None:
            work.rounding += batch.rounding
        return work

    def finished(self, course: Course, work: Work) -> Explanation:
        """What is known of the rows that are not lost."""
        work.spoil_nonfinite()
        names, count = [spec.name for spec in self._model.explained], self._config.targets
        kept, chosen = np.flatnonzero(~work.lost), work.chosen
        flat = [value[span(kept)].reshape(len(kept) * count, *value.shape[2:]) for value in work.attributions]
        attributions = dict(zip(names, flat, strict=True))
        ends = {"input": chosen.output, "baseline": chosen.baseline_output}
        if self._method.drawn in ends:
            ends[self._method.drawn] = work.sums[-1]
        output, start = (value[kept].reshape(-1).astype(np.float32) for value in ends.values())
        compared = len(course.levels) > 1 or self._method.drawn == "between"
        change = work.change if compared else np.zeros_like(work.change)
        estimated = compared or course.lower
        estimate = (change + work.rounding)[kept].reshape(-1) if estimated else None
        found = assess(attributions, output, start, self._config.tolerance, estimate, self._method.complete)
        ranks = np.tile(np.arange(count, dtype=np.int32), len(kept))
        return Explanation(
            rows=np.repeat(kept, count),
            attributions=attributions,
            target=chosen.target[kept].reshape(-1) if self._model.classes > 1 else None,
            target_rank=ranks if self._config.ranked else None,
            predicted=None if chosen.predicted is None else np.repeat(chosen.predicted[kept], count),
            output=output,
            baseline_output=start,
            delta=found.delta,
            relative_delta=found.relative_delta,
            error_estimate=estimate,
            steps=np.repeat(work.steps[kept], count),
            blind_share=np.repeat(work.blind_share()[kept], count),
            baseline_spread=None if work.spread is None else work.spread[kept].reshape(-1).astype(np.float32),
            status=found.status,
            faults=dict(sorted(work.faults.items())),
        )

    def _known(self, batch: Batch) -> npt.NDArray[np.int64] | None:
        return targets.known(self._config, len(batch), batch.labels, self._model.classes)

    def _predicted(self, table: Values) -> npt.NDArray[np.int64] | None:
        return targets.predicted(table) if self._model.classes > 1 else None

    def _fed(self, batch: Batch) -> list[Values]:
        return [batch.inputs[spec.name].astype(spec.point_dtype, copy=False) for spec in self._model.inputs]

    def _draws(self, batch: Batch, explained: list[Values]) -> Draws:
        """Those of the batch; of a row without any, the row itself."""
        pairs = zip(self._model.explained, explained, strict=True)
        values = [batch.draws[spec.name] if batch.draws else value[:, np.newaxis] for spec, value in pairs]
        baselines, noise = self._method.drawn != "input", self._config.noise
        kind = "smoothgrad" if baselines or noise is None else noise.kind
        return Draws(values, kind, self._method.integrand.moments, baselines)

    def _start(self, batch: Batch, inputs: list[Values], baselines: list[Values], compute: Compute) -> Start:
        if self._method.drawn == "baseline":
            blank = np.full((1, self._model.classes), np.nan, np.float32)
            return Start(baselines, blank, no_faults(1))
        if self._method.drawn == "between":
            return self._starts.mean(batch, inputs, baselines, compute)
        return self._starts.of(batch, inputs, baselines, compute)


def _forward(batch: Batch, inputs: list[Values], compute: Compute) -> tuple[list[Values], Values, Faults]:
    """What the head takes, F and why rows are lost; once for the copies of a row that are all alike."""
    heads, table, faults = compute.forward([value[:: batch.alike] for value in inputs])
    if batch.alike == 1:
        return heads, table, faults
    *heads, table, faults = (np.repeat(value, batch.alike, axis=0) for value in (*heads, table, faults))
    return heads, table, faults
