"""Peak memory of a run depends neither on the number of steps nor on that of rows. Each run has its own process."""

import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

FEATURES, GROWTH = 64, 1.05
RUN = """
import pathlib, sys
from pipeline.config import load_config
from pipeline.launch import run
config = pathlib.Path(sys.argv[1])
print(run(load_config(config, sys.argv[2:]), config.parent).manifest["peak_memory_bytes"])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A linear model, 10,000 and 100,000 rows, and a configuration."""
    place = tmp_path_factory.mktemp("memory")
    keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(1)]).save(place / "model.keras")
    name = keras.saving.load_model(place / "model.keras").inputs[0].name
    for rows in (10_000, 100_000):
        values = np.random.default_rng(0).random((rows, FEATURES), np.float32)
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), FEATURES)
        pq.write_table(pa.table({"x": column}), place / f"{rows}.parquet", row_group_size=10_000)
    config = {
        "model": {"path": "model.keras"},
        "input": {"files": "10000.parquet", "features": {name: "x"}},
        "output": {"path": "out"},
        "attribution": {"batch_size": 1024},  # else a longer run has time to find that larger calls are faster
    }
    (place / "config.yaml").write_text(json.dumps(config))
    return place


def peak(folder: pathlib.Path, rows: int, steps: int) -> int:
    """Bytes at the peak of one run in a fresh process."""
    settings = [f"input.files={rows}.parquet", f"attribution.steps={steps}", f"output.path=out-{rows}-{steps}"]
    command = [sys.executable, "-c", RUN, str(folder / "config.yaml"), *settings]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_peak_memory_is_flat_in_steps_and_rows(folder: pathlib.Path) -> None:
    base = peak(folder, 10_000, 10)
    assert peak(folder, 10_000, 300) <= GROWTH * base
    assert peak(folder, 100_000, 10) <= GROWTH * base
