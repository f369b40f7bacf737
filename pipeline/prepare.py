"""All that the launcher can find out before a worker starts: model, columns, shards, one real batch."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import plan as planning
from pipeline.config import JobConfig
from pipeline.plan import Known, Shards
from transforms import buckets
from transforms.attribute import read_examples
from transforms.attribution.baselines.dataset_summary import Request, request
from transforms.attribution.baselines.references import References, references_of_rows
from transforms.attribution.explainer import Explainer
from transforms.attribution_job import AttributionJob
from transforms.errors import UsageError
from transforms.layouts import carried_names, check_kept, layout_of
from transforms.records.columns import attribution_columns
from transforms.records.examples import Examples, Layout, carried_type, extract
from transforms.records.feature import check_column
from transforms.records.source import RawBatch, Selection, check_schema, read_rows
from transforms.shard import InputFile, Shard
from transforms.storage.listing import open_file

SAMPLE_ROWS = 32


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


def references_of_first_rows(shard: Shard, job: AttributionJob, explainer: Explainer) -> References:
    """What the baselines would take of a dataset of the first usable rows alone: enough to try with.

    Raises:
        UsageError: not one of them can be used; E_BASELINE_DATASET, E_BASELINE_ENTROPY.
    """
    return references_of_rows(_first_rows(shard, job).of_one_shape, job.attribution, explainer.model)


def _first_rows(shard: Shard, job: AttributionJob) -> Examples:
    examples, refused = next(iter(read_examples(shard, job, SAMPLE_ROWS)))
    if not len(examples):
        fault = refused[0].fault
        raise UsageError(fault.code, f"not one of the first {len(refused)} rows can be used: {fault.message}")
    return examples


def _try_one_batch(shard: Shard, job: AttributionJob, explainer: Explainer) -> None:
    """Explain the first usable row for real: whatever does not fit shows here, not on a worker an hour later.

    Where it cannot be explained, the next: a few bad rows go to quarantine, but all of them are a wrong model, or ids
    of another vocabulary.
    """
    examples = _first_rows(shard, job)
    explainer = explainer.with_references(references_of_rows(examples.of_one_shape, job.attribution, explainer.model))
    for row in range(len(examples)):
        one = examples.some(np.array([row]))
        labels = None if one.labels is None else one.labels % explainer.model.classes
        (bucket,) = buckets.buckets(dataclasses.replace(one, labels=labels), job.layout)
        (explanation,) = explainer.stream([bucket.batch])
        if not explanation.faults:
            return
    fault = explanation.faults[0]
    raise UsageError(fault.code, f"not one of the first {len(examples)} rows can be explained: {fault.message}")
