"""examples/dicom: tiles of real CT images, and a model that has learnt what bone looks like."""

from __future__ import annotations

import pathlib
import subprocess
import sys
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.records.config import FeatureConfig
from transforms.records.decode import decode
from transforms.records.feature import resolve
from transforms.runs.verify import verify_run
from transforms.storage.place import open_place

for package in ("pydicom", "gdcm"):
    pytest.importorskip(package, reason="DICOM takes the extra: pip install 'attribeam[formats]'")

ROOT = pathlib.Path(__file__).parent.parent.parent
TILES = 2 * 16**2 + 7**2


def call(*command: object) -> None:
    """Python, from the repository's root."""
    ran = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The example, made and run as its user would."""
    place = tmp_path_factory.mktemp("dicom") / "made [1]"
    call("examples/dicom/make.py", place)
    call("-m", "pipeline.main", "run", "--no-audit", place / "config.yaml")
    assert verify_run(open_place(str(place / "out")), deep=True) == []
    return place


@pytest.fixture(scope="module")
def rows(folder: pathlib.Path) -> pa.Table:
    return datasets.read(folder / "out")


@pytest.fixture(scope="module")
def units(folder: pathlib.Path) -> np.ndarray:
    """Hounsfield units of the tiles [rows, 32, 32], as stored in the DICOM files."""
    feature = resolve("scan", FeatureConfig(column="dicom", decode="dicom"), (32, 32, 1), "float32")
    values, faults = decode(pq.read_table(folder / "tiles.parquet")["dicom"].combine_chunks(), feature)
    assert not faults
    return values[..., 0]


def test_every_tile_is_explained_and_complete(rows: pa.Table) -> None:
    assert len(rows) == TILES
    values = datasets.attributions(rows, "scan")
    assert values.shape == (TILES, 32, 32, 1)
    assert set(rows["status"].to_pylist()) <= {"ok", "flat", "unconverged"}
    rise = rows["output"].to_numpy().astype(float) - rows["baseline_output"].to_numpy()
    ok = np.array(rows["status"].to_pylist()) == "ok"
    assert ok.mean() > 0.5  # the rest is air: nothing in it, flat
    # what float32 columns and a sum of a thousand values add to the tolerance of config.yaml
    assert (np.abs(values.sum(axis=(1, 2, 3)) - rise)[ok] <= 0.02 * np.abs(rise[ok]) + 1e-4).all()


def test_the_model_knows_bone_where_it_never_looked(rows: pa.Table) -> None:
    vertebra = np.array(rows["slice"].to_pylist()) == "vertebra"
    right = (rows["output"].to_numpy() > 0) == (rows["label"].to_numpy() == 1)
    assert right[vertebra].mean() > 0.8
    assert right[~vertebra].mean() > 0.9


def test_bone_speaks_for_bone(rows: pa.Table, units: np.ndarray) -> None:
    """Of what speaks for bone in tiles with some of it, more than their share is on the pixels of bone."""
    some: Any = (units > 300).mean(axis=(1, 2))
    tiles = (some > 0.05) & (some < 0.5) & (rows["output"].to_numpy() > 0)
    assert tiles.sum() > 20
    positive = np.maximum(datasets.attributions(rows, "scan")[..., 0], 0)[tiles]
    share = (positive * (units[tiles] > 300)).sum(axis=(1, 2)) / positive.sum(axis=(1, 2))
    assert np.median(share / some[tiles]) > 1.5
