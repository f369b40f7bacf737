"""The picture of a run: which rows it shows, and that it is a PNG of the size a README wants."""

import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.report.contact_sheet import choose, contact_sheet
from transforms.errors import UsageError

ROWS = 40


def _write_part(directory: Path, number: int, ids: list[int]) -> None:
    heat = np.random.default_rng(number).normal(size=(len(ids), 28, 28, 1)).astype(np.float32)
    heat[0, 0, 0, 0] = np.nan
    relative_delta = np.array([row / 1000 for row in ids], np.float32)
    columns = {
        "row_id": [f"r{row}" for row in ids],
        "label": [row % 10 for row in ids],
        "target": [row % 10 for row in ids],
        "output": np.ones(len(ids), np.float32),
        "baseline_output": np.zeros(len(ids), np.float32),
        "delta": -relative_delta,
        "relative_delta": relative_delta,
        "status": pa.array(["ok" if row else "nonfinite" for row in ids]).dictionary_encode(),
        "attribution_image": pa.FixedShapeTensorArray.from_numpy_ndarray(heat),
    }
    pq.write_table(pa.table(columns), directory / f"part-{number:05d}-0123456789ab.parquet")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir()
    _write_part(directory, 0, list(range(25)))
    _write_part(directory, 1, list(range(25, ROWS)))
    return directory


@pytest.fixture
def images() -> dict[str, np.ndarray]:
    """One disc for all: noise would give the outlines, and so the file, a size that no digit has."""
    y, x = np.mgrid[-14:14, -14:14]
    disc = np.where(x**2 + y**2 < 64, 255, 0).astype(np.float32)
    return {f"r{row}": disc for row in range(ROWS)}


def _size(png: Path) -> tuple[int, int]:
    content = png.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", content[16:24])


@pytest.mark.parametrize("rows", [24, 7, 1])
def test_the_sheet_is_a_png_as_wide_as_a_readme(run: Path, images: dict, tmp_path: Path, rows: int) -> None:
    target = contact_sheet(run, images, tmp_path / "new" / "sheet.png", rows)
    width, height = _size(target)
    assert width == 1400
    assert 200 < height < 1200
    assert 5_000 < target.stat().st_size < 300_000
    assert list(target.parent.iterdir()) == [target]


def test_a_second_sheet_replaces_the_first_with_the_same_bytes(run: Path, images: dict, tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    target.write_bytes(b"old")
    first = contact_sheet(run, images, target, 6).read_bytes()
    assert first != b"old"
    assert contact_sheet(run, images, target, 6).read_bytes() == first


def _row(number: int, relative_delta: float | None) -> dict:
    return {"row_id": f"r{number}", "label": number // 10, "relative_delta": relative_delta}


def test_the_spread_goes_through_the_classes_and_the_worst_come_last() -> None:
    table = [_row(number, number / 1000) for number in range(100)]
    spread, worst = choose(table, 24)
    assert [row["label"] for row in spread] == [*range(10), *range(8)]
    assert [row["row_id"] for row in worst] == ["r99", "r98", "r97", "r96", "r95", "r94"]
    assert not {row["row_id"] for row in spread} & {row["row_id"] for row in worst}


def test_what_is_not_a_number_is_the_worst() -> None:
    table = [_row(0, 5.0), _row(1, float("nan")), _row(2, 0.1), _row(3, None)]
    _, worst = choose(table, 4)
    assert {row["row_id"] for row in worst} == {"r1", "r3"}


def test_rows_without_an_image_are_left_out(run: Path, images: dict, tmp_path: Path) -> None:
    few = {row_id: images[row_id] for row_id in ("r3", "r30")}
    assert _size(contact_sheet(run, few, tmp_path / "sheet.png"))[0] == 1400


def test_a_run_without_parts_says_so(tmp_path: Path, images: dict) -> None:
    with pytest.raises(UsageError, match="E_RUN_EMPTY"):
        contact_sheet(tmp_path, images, tmp_path / "sheet.png")
