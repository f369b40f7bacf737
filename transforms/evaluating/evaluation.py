"""Evaluating rows of a finished run: read again what was explained and what came out, and compute the metrics."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.attribution.faithfulness.config import EvaluationConfig
from transforms.attribution.faithfulness.evaluator import Evaluator
from transforms.attribution.faithfulness.sample import Sample
from transforms.errors import AttribeamError
from transforms.evaluating.drawing import Drawn
from transforms.explaining.model_files import local_model
from transforms.records import part
from transforms.records.columns import ATTRIBUTION
from transforms.records.examples import Examples, Layout, extract
from transforms.records.ragged import Ragged
from transforms.records.source import RawBatch, Selection, index_file, read_rows
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.shard import Shard
from transforms.storage.listing import open_file
from transforms.storage.manifest import EVALUATION, to_json
from transforms.storage.place import Place

Values = npt.NDArray[Any]
Row = dict[str, Any]
BATCH_ROWS = 256


@dataclasses.dataclass(frozen=True)
class EvaluationJob:
    """What is evaluated, and how: plain values, for any worker.

    Attributes:
        run: what the run computed.
        maps: by explained input, the shape of its map, with a 1 for each axis that it was summed over.
        reasons: by metric that no row can have, why.
        fill_root, fill_digest: the run whose dataset the fill is of, and the sha256 of what it pinned, if anything.
        excluded: ids of rows that another run of the comparison has refused.
    """

    run: AttributionJob
    settings: EvaluationConfig
    maps: Mapping[str, tuple[int, ...]]
    reasons: Mapping[str, str]
    fill_root: str
    fill_digest: str | None
    excluded: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """The files' names without their suffixes: the same evaluation has the same, any other one another."""
        settings = self.settings
        whole = to_json(
            [self.run.fingerprint, settings.model_dump(mode="json"), self.fill_digest, sorted(self.excluded)]
        )
        return f"{EVALUATION}/rows-{settings.rows}-seed-{settings.seed}-{hashlib.sha256(whole).hexdigest()[:12]}"

    def load(self) -> Evaluator:
        """What computes the metrics."""
        with local_model(self.run.model) as model:
            return Evaluator.load(model, self.run.attribution, self.settings, self.run.trusted)


def evaluate_rows(drawn: Sequence[Drawn], job: EvaluationJob, evaluator: Evaluator, place: Place) -> list[Row]:
    """The metrics of some rows of one shard, with what names each row; None for a metric that it does not have.

    Args:
        drawn: in the order of their part.

    Raises:
        AttribeamError: E_EVALUATE_INPUT when an input file is no longer what was explained, E_PART_DAMAGED.
    """
    shard = drawn[0].shard
    stored = _stored(drawn, job.run, place)
    examples = [_example(row, raw, job.run) for row, raw in _raw_rows(drawn, job.run)]
    target = stored["target"].to_numpy() if stored["target"].null_count == 0 else None
    sample = Sample(
        row_ids=[row.row_id for row in drawn],
        inputs=_joined([example.inputs for example in examples]),
        baselines=_joined([example.baselines for example in examples]),
        target=target,
        maps={name: _map(stored, name, shape) for name, shape in job.maps.items()},
    )
    scores = evaluator.scores(sample)
    return [
        {
            "key": row.key,
            "row_id": row.row_id,
            "source_file": shard.name,
            "source_row": row.source_row,
            "target": None if target is None else int(target[index]),
            **{name: float(value[index]) if np.isfinite(value[index]) else None for name, value in scores.items()},
        }
        for index, row in enumerate(drawn)
    ]


def _stored(drawn: Sequence[Drawn], run: AttributionJob, place: Place) -> pa.Table:
    """The target and the maps of the drawn rows."""
    name, positions = run.part_of(drawn[0].shard), np.array([row.position for row in drawn])
    pieces, first = [], 0
    try:
        with place.open(name) as file:
            parquet = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
            wanted = [n for n in parquet.schema_arrow.names if n == "target" or n.startswith(ATTRIBUTION)]
            for group in range(parquet.num_row_groups):
                stop = first + parquet.metadata.row_group(group).num_rows
                here = positions[(positions >= first) & (positions < stop)] - first
                if len(here):
                    pieces.append(parquet.read_row_group(group, wanted, use_threads=False).take(pa.array(here)))
                first = stop
    except (pa.ArrowException, OSError) as error:
        raise part.damaged(name, "a page of it cannot be read, or its checksum is wrong") from error
    return pa.concat_tables(pieces)


def _map(stored: pa.Table, name: str, shape: tuple[int, ...]) -> Values:
    values = stored[ATTRIBUTION + name].combine_chunks().to_numpy_ndarray()
    return np.asarray(values.reshape(len(values), *shape))


def _raw_rows(drawn: Sequence[Drawn], run: AttributionJob) -> Iterator[tuple[Drawn, RawBatch]]:
    """Each drawn row as its file holds it, in the order in which they were drawn."""
    shard, places = drawn[0].shard, [row.source_row for row in drawn]
    rows = dataclasses.replace(shard.rows, start=min(places), stop=max(places) + 1)
    selection = Selection(_layout(run).columns, rows, BATCH_ROWS, run.max_record_bytes)
    found: dict[int, RawBatch] = {}
    with open_file(shard.path) as file:
        _check_unchanged(shard, file)
        for raw in read_rows(file, shard.source, selection):
            for place in set(places) & set(range(raw.first_row, raw.first_row + raw.table.num_rows)):
                offset = place - raw.first_row
                faults = {0: raw.faults[offset]} if offset in raw.faults else {}
                found[place] = RawBatch(place, raw.table.slice(offset, 1), faults)
    return ((row, found[row.source_row]) for row in drawn)


def _example(row: Drawn, raw: RawBatch, run: AttributionJob) -> Examples:
    examples, refused = extract(raw, _layout(run), row.shard.name)
    if refused or examples.row_ids != [row.row_id]:
        what = refused[0].fault.message if refused else "it has another id"
        raise _changed(row.shard, f"row {row.source_row} is no longer the one that was explained: {what}")
    return examples


def _layout(run: AttributionJob) -> Layout:
    """Inputs and ids alone: targets and what was carried along stand in the parts."""
    return dataclasses.replace(run.layout, label=None, target_is_label=False, carried={})


def _check_unchanged(shard: Shard, file: Any) -> None:
    """A Parquet file is known by its footer; every record of a TFRecord file has its own checksum."""
    if shard.format == "parquet" and index_file(file, shard.name, shard.format).digest != shard.input_digest:
        raise _changed(shard, "it is no longer the file that was explained")


def _changed(shard: Shard, what: str) -> AttribeamError:
    return AttribeamError("E_EVALUATE_INPUT", f"{shard.name}: {what}; restore the input, or run again elsewhere")


def _joined(each: Sequence[Mapping[str, Values | Ragged]]) -> dict[str, Values]:
    """All of them have one shape: a run over rows of varying length is not evaluated."""
    plain = [{name: value for name, value in one.items() if not isinstance(value, Ragged)} for one in each]
    return {name: np.concatenate([one[name] for one in plain]) for name in plain[0]}
