"""`AttributeExamples`: the job's columns from record batches of any pipeline, and the rows that it refuses."""

from __future__ import annotations

import pathlib
from typing import Any

import apache_beam as beam
import collected
import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from collected import counters, kept

from pipeline.config import JobConfig
from transforms.attribute_examples import AttributeExamples
from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.errors import UsageError
from transforms.record_batches import BatchAttributor, ExamplesJob, named
from transforms.records.config import ColumnsConfig, ExamplesConfig
from transforms.records.part_writer import QUARANTINE


def run(batches: list[Any], job: ExamplesJob) -> dict[str, int]:
    """What becomes of the batches stays in `kept`; gives the counters."""

    def both(outputs: Any) -> dict[str, Any]:
        attributed, quarantined = outputs
        return {"attributed": attributed, "quarantined": quarantined}

    return counters(collected.run(batches, AttributeExamples(job), both))


@pytest.fixture
def config(job_of: Any) -> JobConfig:
    """Of a batch size whose bytes do not depend on what the machine does fastest."""
    parts = {"input": {"keep": ["name"], "id": "name"}, "output": {"dtype": "float16", "top": 3}}
    return job_of(datasets.keras_classifier, **parts, attribution={"batch_size": 16, "target": {"top_k": 2}})


@pytest.fixture
def job(build: Any) -> ExamplesJob:
    built = build(datasets.keras_classifier)
    attribution = AttributionConfig(**{"steps": 8, "batch_size": 16} | built.attribution)
    examples = ExamplesConfig(features=built.features, label="label", id="name")
    return ExamplesJob(ModelConfig(**built.model), attribution, examples)


@pytest.fixture(scope="module")
def rows(inputs: dict[str, pathlib.Path]) -> pa.Table:
    return pq.read_table(inputs["parquet"])


def test_the_columns_are_those_that_the_job_writes(
    config: JobConfig, inputs: dict[str, pathlib.Path], rows: pa.Table
) -> None:
    written = datasets.read(datasets.launch(config).root)
    run([(inputs["parquet"].name, rows)], ExamplesJob(config.model, config.attribution, config.input, config.output))
    assert pa.Table.from_batches(kept["attributed"]).equals(written.replace_schema_metadata(None))
    assert written.num_rows == 2 * datasets.ROWS
    assert "quarantined" not in kept


def spoiled(rows: pa.Table) -> pa.Table:
    """The rows, three of which cannot be explained."""
    pixels, labels = rows["pixels"].to_pylist(), rows["label"].to_pylist()
    pixels[2], pixels[20], labels[9] = None, [1.0, float("nan"), 0.0, 0.0], datasets.CLASSES
    return rows.set_column(0, "pixels", pa.array(pixels, rows["pixels"].type)).set_column(
        rows.schema.get_field_index("label"), "label", pa.array(labels, rows["label"].type)
    )


def test_refused_rows_come_out_apart_and_cost_the_others_nothing(job: ExamplesJob, rows: pa.Table) -> None:
    totals = run([("a", spoiled(rows))], job)
    (refused,) = kept["quarantined"]
    assert refused.schema.equals(QUARANTINE)
    assert refused.select(["source_row", "code", "row_id", "source_file"]).to_pydict() == {
        "source_row": [2, 9, 20],
        "code": ["E_FEATURE_MISSING", "E_TARGET_RANGE", "E_FEATURE_NONFINITE"],
        "row_id": [datasets.rows()["name"][row] for row in (2, 9, 20)],
        "source_file": ["a"] * 3,
    }
    others = pa.Table.from_batches(kept["attributed"])
    left = np.setdiff1d(np.arange(datasets.ROWS), [2, 9, 20])
    assert others["source_row"].to_pylist() == left.tolist()
    assert totals["refused"] == 3
    assert totals["gradients"] == 8 * len(left)
    run([("a", rows)], job)
    whole = pa.Table.from_batches(kept["attributed"]).take(left)
    # as in test_example_explainer: three terms of at most 1 in a gradient, 16 roundings behind it, 8 of them added
    bound = (8 + 16) * 2.0**-23 * 3 * np.abs(datasets.rows()["pixels"][left])
    assert np.all(np.abs(datasets.attributions(others) - datasets.attributions(whole)) <= bound)


def test_batches_of_one_schema_can_be_written(job: ExamplesJob, rows: pa.Table, tmp_path: pathlib.Path) -> None:
    schema = BatchAttributor(job, job.load()).schema(rows.schema)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        attributed, _ = pipeline | beam.Create(rows.to_batches(max_chunksize=7)) | AttributeExamples(job)
        tables = attributed | beam.Map(lambda batch: pa.Table.from_batches([batch]))
        _ = tables | beam.io.WriteToParquetBatched(str(tmp_path / "rows"), schema)
    written = pa.concat_tables(pq.read_table(path) for path in tmp_path.iterdir())
    assert written.schema.equals(schema)
    assert sorted(written["row_id"].to_pylist()) == sorted(datasets.rows()["name"])


def test_a_batch_without_a_name_is_named_by_its_content(rows: pa.Table) -> None:
    batches = rows.combine_chunks().to_batches(max_chunksize=7)
    names = [named(batch)[0] for batch in batches]
    assert len(set(names)) == len(batches) > 2
    assert all(name.startswith("batch-") and len(name) == 18 for name in names)
    # a slice is the same as a copy of its rows, and a table as its batch
    copied = pa.RecordBatch.from_pylist(batches[1].to_pylist(), batches[1].schema)
    assert named(copied)[0] == named(pa.Table.from_batches([copied]))[0] == names[1]
    assert named(("mine", batches[1]))[0] == "mine"


@pytest.mark.parametrize("element", [{"pixels": [1.0]}, (3, pa.table({})), ("a", "b"), None])
def test_an_element_that_is_no_record_batch(element: Any) -> None:
    with pytest.raises(UsageError, match="E_RECORD_BATCH"):
        named(element)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda rows: rows.drop_columns(["pixels"]), "E_COLUMN_MISSING"),
        (lambda rows: rows.append_column("pixels", rows["pixels"]), "E_PARQUET_INVALID"),
        (lambda rows: rows.set_column(0, "pixels", rows["name"]), "E_FEATURE_DTYPE"),
    ],
)
def test_a_schema_that_does_not_fit(job: ExamplesJob, rows: pa.Table, change: Any, code: str) -> None:
    attributor = BatchAttributor(job, job.load())
    with pytest.raises(UsageError) as caught:
        attributor.schema(change(rows).schema)
    assert caught.value.code == code
    with pytest.raises(UsageError) as caught:
        list(attributor.attribute(change(rows), "a"))
    assert caught.value.code == code


def test_a_batch_without_a_single_value_is_refused_row_by_row(job: ExamplesJob, rows: pa.Table) -> None:
    empty = rows.set_column(0, "pixels", pa.nulls(rows.num_rows))
    ((output, refused),) = BatchAttributor(job, job.load()).attribute(empty, "a")
    assert (output, set(refused["code"].to_pylist())) == ("quarantined", {"E_FEATURE_MISSING"})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"columns": ColumnsConfig(reduce={"z": (0,)})}, "E_REDUCE"),
        ({"examples": ExamplesConfig(features={"z": "pixels"}, label="label")}, "E_FEATURE_INPUTS"),
        ({"examples": ExamplesConfig(features={"x": "pixels"})}, "E_TARGET_LABELS"),
        ({"examples": ExamplesConfig(features={"x": "pixels"}, label="label", keep=("delta",))}, "E_KEEP_NAME"),
    ],
)
def test_what_does_not_fit_the_model(job: ExamplesJob, changes: dict[str, Any], code: str) -> None:
    parts = {"examples": job.examples, "columns": job.columns} | changes
    other = ExamplesJob(job.model, job.attribution, **parts)
    with pytest.raises(UsageError) as caught:
        BatchAttributor(other, other.load())
    assert caught.value.code == code


def test_a_baseline_of_a_dataset_is_missed_where_the_pipeline_is_built(job: ExamplesJob) -> None:
    with pytest.raises(UsageError, match="E_BASELINE_DATASET"):
        ExamplesJob(job.model, AttributionConfig(target="label", baseline={"samples": 3}), job.examples)
