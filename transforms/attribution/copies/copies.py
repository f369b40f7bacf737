"""Several explanations of a row, from several baselines or of noisy copies, combined into one.

What is drawn for a row depends on the seed and the row's id alone.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.baseline_config import ColumnBaseline, InputBaseline, count, draws, per_row
from transforms.attribution.baselines.references import References
from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig
from transforms.attribution.copies.drawing import Drawing
from transforms.attribution.copies.merging import Merging
from transforms.attribution.engine.padding import restored
from transforms.attribution.explanation import Explanation, joined, of_batch
from transforms.attribution.methods.method import Drawn
from transforms.attribution.model.model import Model
from transforms.attribution.model.model_input import ModelInput

Values = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]
# Copies that are made at once, in bytes of their inputs: as much as is read at once
PIECE_BYTES = 16 * 2**20


class Copies:
    """Explains every row as often as the configuration says.

    A method of one gradient for each draw takes all that it draws for a row as one; what is left are rows of their own.

    Args:
        run: explains batches, one after another.
        choose: gives a batch the entries of the output that are explained, and the largest ones.
        references: what baselines take of a dataset.
        drawn: what the method draws for a row.
    """

    def __init__(
        self,
        run: Callable[[Iterable[Batch]], Iterator[Explanation]],
        choose: Callable[[Batch], Batch],
        model: Model,
        config: AttributionConfig,
        references: References,
        drawn: Drawn | None,
    ) -> None:
        self._run, self._choose, self._model, self._config, self._drawn = run, choose, model, config, drawn
        noisy, baselines = config.noise.draws if config.noise else 1, count(config.baseline)
        self._noisy = 1 if drawn == "input" else noisy
        self._baselines = 1 if drawn in ("baseline", "between") else baselines
        self._drawing, self._merging = Drawing(config, references), Merging(config, self._noisy, self._baselines)

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
            merged = self._merging.merged(found, len(rows)) if self._noisy * self._baselines > 1 else found
            done.append(of_batch(merged, rows))
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
        part, copies = dataclasses.replace(batch.some(rows), row_ids=ids), self._noisy * self._baselines
        part = self._choose(part) if self._config.noise else part
        inputs, baselines, drawn = dict[str, Values](), dict[str, Values](), dict[str, Values]()
        for spec in self._model.inputs:
            given, noisy = part.inputs[spec.name][:, np.newaxis], self._drawing.noisy(part, spec)
            kept = given if self._drawn == "input" else noisy
            inputs[spec.name] = _repeated(_flat(kept), self._baselines)
            if not spec.explained:
                continue
            if self._drawn == "input":
                drawn[spec.name] = _repeated(noisy, self._baselines)
            elif self._drawn:
                found, lengths = _flat(self._drawing.baselines(part, spec, noisy)), part.lengths.get(spec.name)
                own = None if lengths is None else _repeated(lengths, self._noisy)
                drawn[spec.name] = restored(found, inputs[spec.name], own)
            if self._drawn in (None, "input") and (spec.name in part.baselines or not self._shared(spec)):
                baselines[spec.name] = _flat(_flat(self._drawing.baselines(part, spec, kept)))
        return Batch(
            inputs,
            None if part.labels is None else _repeated(part.labels, copies),
            baselines,
            chosen=None if part.chosen is None else _repeated(part.chosen, copies),
            predicted=None if part.predicted is None else _repeated(part.predicted, copies),
            alike=self._baselines,
            draws=drawn,
            samples=self._drawing.samples(part, self._model.explained, copies) if self._drawn == "between" else None,
            places=_repeated(self._drawing.places(part), copies) if self._drawn == "between" else None,
            held_starts=part.held_starts,
            faults=None if part.faults is None else _repeated(part.faults, copies),
            lengths={name: _repeated(value, copies) for name, value in part.lengths.items()},
        )

    def _shared(self, spec: ModelInput) -> bool:
        """Whether all copies of all rows have the one baseline of the configuration."""
        (one, *_), *others = draws(self._config.baseline_of(spec.name))
        return not (others or per_row(one) or isinstance(one, (ColumnBaseline, InputBaseline)))


def _flat(values: Values) -> Values:
    """[rows, copies, *shape] → [rows · copies, *shape]."""
    return values.reshape(-1, *values.shape[2:])


def _repeated(values: Values, times: int) -> Values:
    return values if times == 1 else np.repeat(values, times, axis=0)
