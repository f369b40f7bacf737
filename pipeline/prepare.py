"""All that the launcher can find out before a worker starts: model, columns, shards, one real batch."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa

from pipeline import plan as planning
from pipeline.config import JobConfig
from pipeline.plan import Known, Shards
from transforms import buckets
from transforms.attribution.baselines.dataset_summary import Request, request
from transforms.attribution.explainer import Explainer
from transforms.attribution_job import AttributionJob
from transforms.errors import UsageError
from transforms.isolation.shards import IsolatedShards
from transforms.layouts import carried_names, check_kept, layout_of
from transforms.records.columns import attribution_columns
from transforms.records.examples import Layout, carried_type, extract
from transforms.records.feature import check_column
from transforms.records.source import RawBatch, Selection, check_schema, read_rows
from transforms.shard import InputFile, Shard
from transforms.storage.listing import open_file
from transforms.trial import SAMPLE_ROWS, try_one_batch


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A job that can start.

    Attributes:
        decides: everything that decides the values, by dotted key.
        request: what the baselines take of the dataset.
    """

    job: AttributionJob
    shards: Shards
    files: Sequence[InputFile]
    decides: Mapping[str, Any]
    request: Request


def prepare(config: JobConfig, root: pathlib.Path, explainer: Explainer, known: Known) -> Prepared:
    """Check the configuration against the model and the data, and plan the shards.

    The data of a run that is resumed was checked before, and is not read.

    Raises:
        UsageError: whatever is wrong with the configuration, the model or the dataset as a whole.
    """
    layout = layout_of(config.input, config.attribution, explainer.model, config.limits.sequence_length)
    buckets.check_attribution(layout, config.attribution, explainer.model)
    files = planning.index_input(config, root, known.files, _schema_check(config, layout))
    whole = Shards(files, max(1, *(file.summary.rows for file in files)))
    if not whole:
        raise UsageError("E_INPUT_NO_ROWS", f"the {len(files)} input files hold no rows; check input.files")
    layout = _with_carried_types(config, layout, whole[0], known)
    layout = _with_usual_lengths(layout, whole[0], known)
    shapes = buckets.explained_shapes(layout, explainer)
    wanted = request(config.attribution, explainer.model.inputs, shapes)
    attributions = attribution_columns(config.output, shapes, buckets.usual_steps(layout, shapes))
    check_kept(config.input, attributions)
    row_bytes = planning.output_row_bytes(attributions)
    shards = Shards(files, planning.rows_per_shard(whole.rows, row_bytes, config.output.shard_bytes))
    decides = planning.deciding_values(config, explainer.model.digest, files)
    job = AttributionJob(
        config.output.path,
        planning.fingerprint(decides),
        config.model,
        config.attribution,
        layout,
        attributions,
        config.limits.record_bytes,
        explainer.trusted,
        isolation=config.limits.isolation,
    )
    if known.carried is None:
        _try_one_batch(shards[0], job, explainer)
    return Prepared(job, shards, files, decides, wanted)


def _schema_check(config: JobConfig, layout: Layout) -> planning.Check:
    features = [*layout.inputs, *layout.baselines]
    others = [name for name in (layout.id, layout.label, *config.input.keep) if name is not None]
    return lambda file, summary: check_schema(file, summary.name, summary.format, features, others)


def _with_carried_types(config: JobConfig, layout: Layout, shard: Shard, known: Known) -> Layout:
    wanted = carried_names(config.input)
    if known.carried is not None and list(known.carried) == wanted:
        return dataclasses.replace(layout, carried=known.carried)
    draft = dataclasses.replace(layout, carried=dict.fromkeys(wanted, pa.null()))
    table = _sample(shard, draft.columns).table
    for feature in (*layout.inputs, *layout.baselines):
        check_column(table.schema.field(feature.column).type, feature, shard.name)
    types = {}
    for name in wanted:
        column = draft.source_of(name)
        if pa.types.is_null(table.schema.field(column).type):
            raise UsageError("E_COLUMN_MISSING", f"{shard.name} has no {column!r} in its first rows; check input")
        types[name] = carried_type(table.schema.field(column).type, table.column(column))
    return dataclasses.replace(layout, carried=types)


def _with_usual_lengths(layout: Layout, shard: Shard, known: Known) -> Layout:
    """By the first rows that can be used, or as an earlier invocation found them."""
    lengths = known.lengths
    if not lengths and any(feature.varying for feature in layout.inputs):
        examples, _ = extract(_sample(shard, layout.columns), layout, shard.name)
        lengths = buckets.usual_lengths(examples)
    return dataclasses.replace(layout, lengths=lengths)


def _sample(shard: Shard, columns: tuple[str, ...]) -> RawBatch:
    with open_file(shard.path) as file:
        return next(read_rows(file, shard.source, Selection(columns, shard.rows, SAMPLE_ROWS)))


def _try_one_batch(shard: Shard, job: AttributionJob, explainer: Explainer) -> None:
    """Here, or in a child where a row may be poison."""
    if job.isolation is None:
        try_one_batch(shard, job, explainer)
        return
    with closing(IsolatedShards(job)) as isolated:
        isolated.try_one_batch(shard)
