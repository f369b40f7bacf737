"""Runs over numbers that are not finite, or that the type written cannot hold: those rows are flagged or refused, and
the bytes of the others are what they are in a run without them."""

from __future__ import annotations

import pathlib
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from datasets import attributions, launch, read

from transforms.runs.verify import verify_run
from transforms.storage.place import open_place

GOOD = 12
# by place in the file, a value in its row and what becomes of it when float16 is written
BAD = {2: (np.nan, "refused"), 5: (np.inf, "refused"), 6: (3e38, "nonfinite"), 9: (1e6, "nonfinite"), 11: (1e-40, "ok")}


def table_of(rows: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The good rows alone, and the same among bad ones."""
    pixels, names = list(rows["pixels"]), list(rows["name"])
    for place, (value, _) in sorted(BAD.items()):
        pixels.insert(place, np.float32([value, 1, 1, 1]))
        names.insert(place, f"bad {place}")
    return rows, {"pixels": np.stack(pixels), "name": names, "label": np.zeros(len(names), np.int64)}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("model", [datasets.linear, datasets.quadratic])
def test_good_rows_are_bit_equal_to_a_run_without_the_bad_ones(
    job_of: Any, tmp_path: pathlib.Path, model: Any, dtype: str
) -> None:
    plain = {name: value for name, value in datasets.rows(GOOD).items() if name in ("pixels", "name")}
    tables = {}
    for out, columns in zip(("clean", "mixed"), table_of(plain | {"label": np.zeros(GOOD, np.int64)}), strict=True):
        path = datasets.write_parquet(tmp_path / f"{out}.parquet", columns, 50)
        given = {"attribution": {"batch_size": 32}, "input": {"id": "name"}, "limits": {"quarantined": 0.5}}
        run = launch(job_of(model, path, out, output={"dtype": dtype}, **given))
        assert verify_run(open_place(run.root), deep=True) == []
        tables[out] = read(run.root)
    mixed = tables["mixed"]
    found = dict(zip(mixed["row_id"].to_pylist(), mixed["status"].to_pylist(), strict=True))
    values = attributions(mixed)
    for place, (value, becomes) in BAD.items():
        row = f"bad {place}"
        assert (row not in found) == (becomes == "refused"), row
        if becomes != "refused":
            at = mixed["row_id"].to_pylist().index(row)
            assert (found[row] == "nonfinite") == (not np.isfinite(values[at]).all()), (row, value)
            assert found[row] != "nonfinite" or dtype == "float16" or model is datasets.quadratic
            assert found[row] == becomes or dtype == "float32" or model is datasets.quadratic
    same = mixed.filter(pa.array(["bad" not in row for row in mixed["row_id"].to_pylist()]))
    for name in set(same.column_names) - {"source_file", "source_row"}:
        assert same[name].combine_chunks().equals(tables["clean"][name].combine_chunks()), name
    assert same["status"].to_pylist() == ["ok"] * GOOD
