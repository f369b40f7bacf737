"""examples/sequences: recordings of varying length, in which a known moment decides."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

TOLERANCE = 0.02  # of config.yaml


@pytest.fixture(scope="module")
def folder(example: Callable[[str], pathlib.Path]) -> pathlib.Path:
    return example("sequences")


@pytest.fixture(scope="module")
def rows(folder: pathlib.Path) -> pa.Table:
    return datasets.read(folder / "out")


def test_the_model_is_worth_explaining(rows: pa.Table) -> None:
    """The jump is 30 times as large as the noise: one that misses it in more than a tenth of the rows learnt little."""
    assert (rows["output"].to_numpy() > rows["baseline_output"].to_numpy()).mean() > 0.9


def test_every_recording_has_a_number_for_each_of_its_moments(folder: pathlib.Path, rows: pa.Table) -> None:
    stored = pq.read_table(folder / "recordings.parquet")
    lengths = [len(row) for row in stored["readings"].to_pylist()]
    assert len(set(lengths)) > 30
    assert [len(row) for row in rows["attribution_readings"].to_pylist()] == lengths
    assert rows["row_id"].to_pylist() == stored["id"].to_pylist()
    assert json.loads(rows.schema.field("attribution_readings").metadata[b"attribeam.shape"]) == [None]


def test_every_row_is_complete(rows: pa.Table) -> None:
    total = np.array([sum(row) for row in rows["attribution_readings"].to_pylist()])
    rise = rows["output"].to_numpy().astype(float) - rows["baseline_output"].to_numpy()
    ok = np.array(rows["status"].to_pylist()) == "ok"
    assert ok.mean() > 0.9
    # what float32 columns and sums of up to 144 of them add to the tolerance
    assert (np.abs(total - rise)[ok] <= TOLERANCE * np.abs(rise[ok]) + 1e-4).all()


def test_the_strongest_moment_is_the_one_that_decides(rows: pa.Table) -> None:
    """Of 12 to 48 moments, a guess would find one in 26."""
    strongest = np.array([np.argmax(row) for row in rows["attribution_readings"].to_pylist()])
    assert (strongest == rows["fault_at"].to_numpy()).mean() > 0.95


def test_the_deciding_moment_has_most_of_the_attribution(rows: pa.Table) -> None:
    values = [np.array(row) for row in rows["attribution_readings"].to_pylist()]
    moments = rows["fault_at"].to_pylist()
    shares = [value[moment] / np.abs(value).sum() for value, moment in zip(values, moments, strict=True)]
    assert np.median(shares) > 0.5
