"""From a configuration, a model that may be known by its files alone, and the dataset, to a plan of shards."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline import plan as planning
from pipeline.config import JobConfig
from pipeline.plan import Known, Shards
from transforms.attribution.baselines.dataset_summary import Request, request
from transforms.attribution.model.model_input import Described
from transforms.errors import UsageError
from transforms.explaining import buckets
from transforms.explaining.first_rows import SAMPLE_ROWS, usable
from transforms.explaining.layouts import carried_names, check_kept, layout_of
from transforms.records.columns import attribution_columns
from transforms.records.examples import Layout, carried_type, extract
from transforms.records.feature import check_column
from transforms.records.source import RawBatch, Required, Selection, read_rows
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.shard import InputFile, Shard
from transforms.storage.listing import open_file

Shapes = Mapping[str, tuple[int | None, ...]]


@dataclasses.dataclass(frozen=True)
class Survey:
    """What is known of a job before it is known how large the attributions of a row are.

    Attributes:
        whole: the rows, a shard for each file.
        decides: everything that decides the values, by dotted key.
        fingerprint: of it.
    """

    layout: Layout
    files: Sequence[InputFile]
    whole: Shards
    decides: Mapping[str, Any]
    fingerprint: str

    @property
    def rows(self) -> int:
        """Of all files."""
        return self.whole.rows


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A job that can start.

    Attributes:
        request: what the baselines take of the dataset.
    """

    job: AttributionJob
    shards: Shards
    survey: Survey
    request: Request

    @property
    def decides(self) -> Mapping[str, Any]:
        """Everything that decides the values, by dotted key."""
        return self.survey.decides


def survey(config: JobConfig, root: pathlib.Path, model: Described, known: Known) -> Survey:
    """Check the configuration against the model's inputs and the dataset's files and first rows.

    The data of a run that is resumed was checked before, and is not read.

    Raises:
        UsageError: whatever is wrong with the configuration, the model or the dataset as a whole.
    """
    layout = layout_of(config.input, config.attribution, model, config.limits.sequence_length)
    buckets.check_attribution(layout, config.attribution, model)
    files = planning.index_input(config, root, known.files, _required(config, layout))
    whole = Shards(files, max(1, *(file.summary.rows for file in files)))
    if not whole:
        raise UsageError("E_INPUT_NO_ROWS", f"the {len(files)} input files hold no rows; check input.files")
    layout = _with_carried_types(config, layout, whole[0], known)
    layout = _with_usual_lengths(layout, whole[0], known)
    decides = planning.deciding_values(config, model.digest, files)
    return Survey(layout, files, whole, decides, planning.fingerprint(decides))


def planned(
    config: JobConfig, found: Survey, model: Described, shapes: Shapes, trusted: Collection[str] = ()
) -> Prepared:
    """The job and its shards, of attributions of these shapes.

    Args:
        shapes: of what is explained, by name, None for the length of a row.

    Raises:
        UsageError: E_BASELINE_DATASET, E_KEEP_NAME, and what `attribution_columns` raises.
    """
    wanted = request(config.attribution, model.explained or (), shapes)
    attributions = attribution_columns(config.output, shapes, buckets.usual_steps(found.layout, shapes))
    check_kept(config.input, attributions)
    row_bytes = planning.output_row_bytes(attributions)
    shards = Shards(found.files, planning.rows_per_shard(found.rows, row_bytes, config.output.shard_bytes))
    job = AttributionJob(
        config.output.path,
        found.fingerprint,
        config.model,
        config.attribution,
        found.layout,
        attributions,
        config.limits.record_bytes,
        tuple(trusted),
        isolation=config.limits.isolation,
    )
    return Prepared(job, shards, found, wanted)


def check_first_rows(found: Survey) -> None:
    """Read the first rows as a worker would.

    Raises:
        UsageError: when not one of them can be used.
    """
    usable(*extract(_sample(found.whole[0], found.layout.columns), found.layout, found.whole[0].name))


def _required(config: JobConfig, layout: Layout) -> Required:
    others = [name for name in (layout.id, layout.label, *config.input.keep) if name is not None]
    return Required([*layout.inputs, *layout.baselines], others)


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
