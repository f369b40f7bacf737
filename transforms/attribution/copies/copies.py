"""Several explanations of a row, from several baselines or of noisy copies, combined into one.

What is drawn for a row depends on the seed and the row's id alone.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.baseline_config import (
    ColumnBaseline,
    InputBaseline,
    OneBaseline,
    SamplesBaseline,
    draws,
    per_row,
)
from transforms.attribution.baselines.given import given_baseline
from transforms.attribution.baselines.references import References
from transforms.attribution.baselines.row_baselines import RowBaseline, generator, row_baselines
from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig
from transforms.attribution.copies.merging import Merging
from transforms.attribution.engine.padding import restored
from transforms.attribution.explanation import Explanation, joined, of_batch
from transforms.attribution.model.model import Model
from transforms.attribution.model.model_input import ModelInput
from transforms.errors import UsageError

Values = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]
# Copies that are made at once, in bytes of their inputs: as much as is read at once
PIECE_BYTES = 16 * 2**20


class Copies:
    """Explains every row as often as the configuration says.

    Args:
        run: explains batches, one after another.
        choose: the entries of the output that are explained of a batch, int64 [rows, targets].
        references: what baselines take of a dataset.
        jittered: each copy has one point of its own on its path.
    """

    def __init__(
        self,
        run: Callable[[Iterable[Batch]], Iterator[Explanation]],
        choose: Callable[[Batch], Rows],
        model: Model,
        config: AttributionConfig,
        references: References,
        jittered: bool,
    ) -> None:
        self._run, self._choose, self._model, self._config = run, choose, model, config
        self._noisy, self._jittered = config.noise.draws if config.noise else 1, jittered
        self._references, self._merging = references, Merging(config, jittered)

    def stream(self, batches: Iterable[Batch]) -> Iterator[Explanation]:
        """Explain every batch, in order."""
        under_way, done = deque[tuple[Rows, bool]](), list[Explanation]()

        def copied() -> Iterator[Batch]:
            for batch in batches:
                pieces = self._pieces(batch)
                for rows in pieces:
                    under_way.append((rows, rows is pieces[-1]))
                    yield self._copied(batch, rows)

        for found in self._run(copied()):
            rows, last = under_way.popleft()
            done.append(of_batch(self._merging.merged(found, len(rows)), rows))
            if last:
                yield joined(done)
                done = []

    def _pieces(self, batch: Batch) -> list[Rows]:
        row_bytes = sum(value.nbytes for value in batch.inputs.values()) / len(batch)
        size = max(1, int(PIECE_BYTES / max(1, row_bytes * self._config.copies)))
        return [np.arange(first, min(first + size, len(batch))) for first in range(0, len(batch), size)]

    def _copied(self, batch: Batch, rows: Rows) -> Batch:
        """All copies of some rows, a row's one after another: for each noisy one, its baselines."""
        ids = [str(row) for row in rows] if batch.row_ids is None else [batch.row_ids[row] for row in rows]
        part, copies = dataclasses.replace(batch.some(rows), row_ids=ids), self._config.copies
        inputs = {spec.name: self._noisy_copies(part, spec) for spec in self._model.inputs}
        baselines = {
            spec.name: self._baselines(part, spec, inputs[spec.name])
            for spec in self._model.explained
            if spec.name in part.baselines or not self._shared(spec)
        }
        chosen = np.repeat(self._choose(part), copies, axis=0) if self._config.noise else None
        labels = None if part.labels is None else np.repeat(part.labels, copies)
        places = self._places(ids) if self._jittered else None
        copied = Batch(inputs, labels, baselines, chosen=chosen, alike=copies // self._noisy, places=places)
        lost = None if part.lost is None else np.repeat(part.lost, copies)
        lengths = {name: np.repeat(value, copies) for name, value in part.lengths.items()}
        return dataclasses.replace(copied, held_starts=part.held_starts, lost=lost, lengths=lengths)

    def _shared(self, spec: ModelInput) -> bool:
        """Whether all copies of all rows have the one baseline of the configuration."""
        (one, *_), *others = draws(self._config.baseline_of(spec.name))
        return not (others or per_row(one) or isinstance(one, (ColumnBaseline, InputBaseline)))

    def _places(self, ids: Sequence[str]) -> npt.NDArray[np.float64]:
        """α of every copy, [rows · copies, 1]: one in each of as many equal parts of the path as baselines."""
        count = self._config.copies // self._noisy
        numbers = [generator(self._config.seed, "alpha", name) for name in ids]
        drawn = np.stack([(one.permutation(count) + one.uniform(size=count)) / count for one in numbers])
        return np.repeat(drawn[:, np.newaxis], self._noisy, axis=1).reshape(-1, 1)

    def _noisy_copies(self, part: Batch, spec: ModelInput) -> Values:
        values, noise = part.inputs[spec.name], self._config.noise
        if noise is None or not spec.explained:
            return np.repeat(values, self._config.copies, axis=0)
        shape = (noise.draws, *values.shape[1:])
        numbers = [generator(self._config.seed, "noise", spec.name, name) for name in part.row_ids or ()]
        drawn = np.float32(noise.sigma) * np.stack([one.standard_normal(shape, np.float32) for one in numbers])
        noisy = (values[:, np.newaxis] + drawn).astype(spec.point_dtype, copy=False).reshape(-1, *values.shape[1:])
        if spec.name in part.lengths:
            rows, lengths = (np.repeat(value, noise.draws, axis=0) for value in (values, part.lengths[spec.name]))
            noisy = restored(noisy, rows, lengths)
        return np.repeat(noisy, self._config.copies // noise.draws, axis=0)

    def _baselines(self, part: Batch, spec: ModelInput, inputs: Values) -> Values:
        """Of every copy of every row, [rows · copies, *shape]; those made from a row are made from its noisy copy."""
        count, listed = self._config.copies // self._noisy, self._config.baseline_of(spec.name)
        noisy, shape = inputs[::count].astype(spec.point_dtype, copy=False), inputs.shape[1:]
        singles = [one for one, draw in draws(listed) if draw == 0]
        if spec.name in part.baselines and not any(isinstance(one, ColumnBaseline) for one in singles):
            found = [self._given(part, spec, shape)]
        else:
            found = [self._single(one, place, part, spec, noisy) for place, one in enumerate(singles)]
        each = np.concatenate([np.broadcast_to(value, (len(noisy), *value.shape[1:])) for value in found], axis=1)
        return np.broadcast_to(each, (len(noisy), count, *shape)).reshape(-1, *shape)

    def _single(
        self, one: OneBaseline | InputBaseline, place: int, part: Batch, spec: ModelInput, noisy: Values
    ) -> Values:
        """All draws of one baseline, [rows · noisy copies | 1, draws, *shape]."""
        shape = noisy.shape[1:]
        if isinstance(one, (ColumnBaseline, InputBaseline)):
            if spec.name not in part.baselines:
                raise UsageError("E_BASELINE_MISSING", f"the baseline of {spec.name!r} is a column; give its values")
            return self._given(part, spec, shape)
        copies = [(copy,) for copy in range(self._noisy)] if self._noisy > 1 else [()]
        if isinstance(one, SamplesBaseline):
            joint = [("samples", place, name, *copy) for name in part.row_ids or () for copy in copies]
            return self._references.samples(one, spec, self._config.seed, joint)
        if isinstance(one, RowBaseline):
            names = [("baseline", place, spec.name, name, *copy) for name in part.row_ids or () for copy in copies]
            sigma = None if part.sigma is None else np.repeat(part.sigma, self._noisy)
            return row_baselines(one, noisy, self._config.seed, names, sigma)
        return self._references.shared(one, spec, shape)[np.newaxis, np.newaxis]

    def _given(self, part: Batch, spec: ModelInput, shape: tuple[int, ...]) -> Values:
        """[rows · noisy copies | 1, 1, *shape]."""
        given = given_baseline(part.baselines[spec.name], spec, len(part), shape)[:, np.newaxis]
        return np.repeat(given, self._noisy, axis=0) if len(given) > 1 else given
