"""Record batches that come from anywhere, explained: the columns that the job writes, and the rows that are refused."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.attribution.baselines.references import References
from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.explainer import Explainer
from transforms.errors import UsageError, quoted
from transforms.explaining import buckets
from transforms.explaining.explained import SourceRows, chunk_rows
from transforms.explaining.layouts import carried_names, check_kept, layout_of
from transforms.explaining.prerequisites import check_prerequisites
from transforms.records.columns import attribution_columns
from transforms.records.config import ColumnsConfig, ExamplesConfig
from transforms.records.examples import Examples, Layout, Refusal, extract
from transforms.records.feature import check_column
from transforms.records.parquet import checked_columns
from transforms.records.part import part_schema
from transforms.records.source import RawBatch

ATTRIBUTED, QUARANTINED = "attributed", "quarantined"
BATCH = "a record batch"


@dataclasses.dataclass(frozen=True)
class ExamplesJob:
    """All that a worker needs to know: plain values, so that it travels to any of them.

    Attributes:
        examples: what is taken of every row; an InputConfig will do.
        columns: how attributions become columns; an OutputConfig will do.
        trusted: modules of the user's that a worker may import.
        references: what baselines take of a dataset, where they do.

    Raises:
        UsageError: E_CODE_*, E_BASELINE_DATASET.
    """

    model: ModelConfig
    attribution: AttributionConfig
    examples: ExamplesConfig
    columns: ColumnsConfig = dataclasses.field(default_factory=ColumnsConfig)
    trusted: tuple[str, ...] = ()
    references: References | None = None

    def __post_init__(self) -> None:
        check_prerequisites(self.attribution, self.trusted, self.references)

    def load(self) -> Explainer:
        """The model, ready to be explained; raises what `Explainer.load` raises."""
        return Explainer.load(self.model, self.attribution, self.trusted, self.references)


class BatchAttributor:
    """Explains record batches of one job: what `AttributeExamples` does to each, on a worker.

    Raises:
        UsageError: what does not fit the model (E_FEATURE_*, E_TARGET_LABELS, E_BASELINE_*, E_REDUCE, E_GROUPS, E_TOP,
            E_KEEP_NAME).
    """

    def __init__(self, job: ExamplesJob, explainer: Explainer) -> None:
        self._job, self._explainer = job, explainer
        self._layout = layout_of(job.examples, job.attribution, explainer.model)
        buckets.check_attribution(self._layout, job.attribution, explainer.model)
        shapes = buckets.explained_shapes(self._layout, explainer)
        self._attributions = attribution_columns(job.columns, shapes, buckets.usual_steps(self._layout, shapes))
        check_kept(job.examples, self._attributions)

    def schema(self, rows: pa.Schema) -> pa.Schema:
        """Of what record batches of a schema become.

        Raises:
            UsageError: E_COLUMN_MISSING, E_PARQUET_INVALID, E_FEATURE_DTYPE, E_FEATURE_SHAPE.
        """
        return part_schema(self._attributions, self._carrying(rows).carried, self._job.attribution.ranked)

    def attribute(self, table: pa.Table, name: str) -> Iterator[tuple[str, pa.RecordBatch]]:
        """The output rows of a batch as `attributed`, in its order and in pieces; those refused as `quarantined`.

        Args:
            name: of the batch: its `source_file`.

        Raises:
            UsageError: as `schema`.
        """
        layout, schema = self._carrying(table.schema), self.schema(table.schema)
        rows = SourceRows(name, self._read(table, layout, name), layout, self._explainer)
        with closing(rows.explained()) as chunks:
            for chunk in chunks:
                yield ATTRIBUTED, rows.output(chunk, schema, self._attributions)
        refused = rows.refused()
        if refused.num_rows:
            yield QUARANTINED, refused

    def _carrying(self, rows: pa.Schema) -> Layout:
        """The layout of batches of a schema, which must have the columns that it names, each once."""
        layout, names = self._layout, carried_names(self._job.examples)
        draft = dataclasses.replace(layout, carried=dict.fromkeys(names, pa.null()))
        checked_columns(rows.names, BATCH, draft.columns)
        for feature in (*layout.inputs, *layout.baselines):
            kind = rows.field(feature.column).type
            if not pa.types.is_null(kind):  # else its rows are refused, one by one
                check_column(kind, feature, BATCH)
        types = {name: rows.field(draft.source_of(name)).type for name in names}
        return dataclasses.replace(layout, carried=types)

    def _read(self, table: pa.Table, layout: Layout, name: str) -> Iterator[tuple[Examples, list[Refusal]]]:
        first = 0
        for piece in table.select(layout.columns).to_batches(chunk_rows(layout, self._explainer)):
            yield extract(RawBatch(first, piece), layout, name)
            first += piece.num_rows


def named(element: Any) -> tuple[str, pa.Table]:
    """The name and the rows of an element: of a pair its own, else one made of the content: the same for a retry.

    Raises:
        UsageError: E_RECORD_BATCH for what is no record batch.
    """
    name, rows = element if isinstance(element, tuple) and len(element) == 2 else (None, element)
    if not isinstance(rows, (pa.RecordBatch, pa.Table)) or not (name is None or isinstance(name, str)):
        kinds = "pyarrow.RecordBatch or Table, or a pair of a name and one"
        raise UsageError("E_RECORD_BATCH", f"an element is {quoted(element)}, which is no {kinds}; map it to that")
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
    return name or f"batch-{_digest(table)}", table


def _digest(table: pa.Table) -> str:
    # copied: a slice brings bytes of its neighbours along
    whole, digest = table.combine_chunks().take(np.arange(table.num_rows)), hashlib.sha256()
    for batch in whole.to_batches():
        digest.update(batch.serialize())
    return digest.hexdigest()[:12]
