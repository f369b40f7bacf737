"""Rows that were read, explained: those that cannot be are set apart, the others come in the order of the input."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.attribution import targets
from transforms.attribution.batch import Batch
from transforms.attribution.engine.padding import cropped
from transforms.attribution.explainer import Explainer
from transforms.attribution.explanation import Explanation
from transforms.explaining.buckets import Bucket, buckets, in_order, usual_shapes
from transforms.explaining.rows import record_batch
from transforms.overlap import ahead
from transforms.records.columns import AttributionColumns
from transforms.records.examples import Examples, Layout, Refusal
from transforms.records.part_writer import quarantined
from transforms.runs.work_done import Clocks

CHUNK_BYTES = 16 * 2**20
MAX_CHUNK_ROWS = 1024
# Batches decoded before they are needed.
DEPTH = 2
ALONE = contextlib.nullcontext()
Explained = tuple[Examples, Explanation]


def chunk_rows(layout: Layout, explainer: Explainer | None = None) -> int:
    """Rows read at once: about 16 MiB of inputs and of what each row is turned into once, which may be far more: the
    values of the layer that is explained, and of the tensor where the affine first part of the model ends."""
    shapes = usual_shapes(layout)
    pairs = zip(layout.inputs, shapes, strict=True)
    row_bytes = sum(feature.dtype.itemsize * int(np.prod(shape)) for feature, shape in pairs)
    if explainer and explainer.model.layer:
        values = sum(int(np.prod(shape)) for shape in explainer.explained_shapes(shapes).values())
        row_bytes += explainer.model.layer.dtype.itemsize * values
    if explainer and explainer.model.stem:
        row_bytes += explainer.model.stem.row_bytes
    return min(MAX_CHUNK_ROWS, max(1, CHUNK_BYTES // max(1, row_bytes)))


class SourceRows:
    """The rows of one source, and those of them that are refused on the way.

    Args:
        name: of the source: a file, or a batch.
        read: its rows chunk by chunk, and those that could not be read.
        feeding: held while the explainer is fed, which is until the last rows are about to be computed.
        clocks: of which those for explaining and waiting are run.
    """

    def __init__(
        self,
        name: str,
        read: Iterable[tuple[Examples, list[Refusal]]],
        layout: Layout,
        explainer: Explainer,
        feeding: AbstractContextManager[Any] = ALONE,
        clocks: Clocks | None = None,
    ) -> None:
        self._name, self._read, self._layout, self._explainer, self._feeding = name, read, layout, explainer, feeding
        self._under_way = deque[tuple[Bucket, bool]]()
        self._refusals, self._clocks = list[Refusal](), clocks or Clocks()

    def explained(self) -> Generator[list[Explained], None, None]:
        """The rows of every chunk that can be explained, with their explanations, in buckets of one length."""
        # closed at once, here and by the caller, whatever fails: an error would keep the lock that the next waits for
        chunk, explainer = list[Explained](), self._explainer
        with closing(self._fed()) as fields:
            clocks = self._clocks
            for explanation in clocks.explaining.timed(explainer.stream(clocks.waiting.timed(fields))):
                bucket, last = self._under_way.popleft()
                self._refusals.extend(bucket.examples.refuse(explanation.faults, self._name)[1])
                chunk.append((bucket.examples, cropped(explanation, bucket.batch, explainer.model, explainer.config)))
                if last:
                    yield chunk
                    chunk = []

    def output(
        self, chunk: Sequence[Explained], schema: pa.Schema, attributions: Sequence[AttributionColumns]
    ) -> pa.RecordBatch:
        """The output rows of a chunk, in the order of the input."""
        return in_order([record_batch(*one, schema, self._name, attributions) for one in chunk])

    def refused(self, others: Sequence[Refusal] = ()) -> pa.RecordBatch:
        """The rows that are refused, and others of the source, once the last chunk is explained, as they are written to
        quarantine."""
        return quarantined([*self._refusals, *others], self._name)

    def _fed(self) -> Generator[Batch, None, None]:
        with self._feeding:
            yield from ahead(self._batches(), DEPTH)

    def _batches(self) -> Iterator[Batch]:
        for examples, refused in self._read:
            self._refusals.extend(refused)
            if examples.labels is not None:
                faults = targets.label_faults(examples.labels, self._explainer.model.classes)
                examples, refused = examples.refuse(faults, self._name)
                self._refusals.extend(refused)
            found = buckets(examples, self._layout)
            for bucket in found:
                self._under_way.append((bucket, bucket is found[-1]))
                yield bucket.batch
