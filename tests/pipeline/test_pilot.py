"""`plan --pilot N`: which rows it explains, what it says of them, and what the run's manifest sets beside it."""

from __future__ import annotations

import io
import pathlib
from typing import Any

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipeline import pilot as piloting
from pipeline.plan import Known
from pipeline.prepare import prepare
from pipeline.preview import preview
from transforms.attribution.explainer import Explainer
from transforms.records.source import RowRange
from transforms.runs.shard import Shard
from transforms.runs.verify import verify_run
from transforms.storage.place import open_place

SIZES = st.lists(st.integers(1, 300), min_size=1, max_size=6)


@given(SIZES, st.integers(1, 500))
def test_the_blocks_are_spread_over_the_shards_and_never_overlap(sizes: list[int], rows: int) -> None:
    shards = [Shard(n, f"f{n}", f"f{n}", "parquet", "none", RowRange(7, 7 + size), "d") for n, size in enumerate(sizes)]
    blocks = piloting.spread(shards, rows)
    by_path = {shard.path: shard for shard in shards}
    explained = [(block.path, row) for block in blocks for row in range(block.rows.start, block.rows.stop)]
    assert 1 <= len(explained) <= min(rows, sum(sizes))
    assert [block.number for block in blocks] == list(range(len(blocks)))
    for block in blocks:
        assert by_path[block.path].rows.start <= block.rows.start < block.rows.stop <= by_path[block.path].rows.stop
    if len(sizes) == 1:
        assert len(explained) == len(set(explained)) == min(rows, sizes[0])


def test_a_figure_turns_round_when_it_divides() -> None:
    assert piloting.Figure(2.0, 1.0, 4.0).per(8.0) == piloting.Figure(4.0, 2.0, 8.0)
    assert piloting.Figure(2.0, 1.0, 4.0).times(3.0) == piloting.Figure(6.0, 3.0, 12.0)


def test_a_pilot_over_all_rows_counts_what_the_run_will_spend(job_of: Any, tmp_path: pathlib.Path) -> None:
    config = job_of(datasets.keras_classifier, attribution={"steps": "auto", "batch_size": 16})
    explainer, rows = Explainer.load(config.model, config.attribution), datasets.rows()
    found = piloting.pilot(prepare(config, tmp_path, explainer, Known()), explainer, datasets.ROWS)
    assert (found.rows, found.total_rows, found.device) == (datasets.ROWS, datasets.ROWS, "CPU")
    for tolerance, figure in found.by_tolerance.items():
        settings = config.attribution.model_copy(update={"tolerance": tolerance})
        steps = Explainer(explainer.model, settings).explain(rows["pixels"], rows["label"]).steps
        assert figure.low <= steps.mean() <= figure.high
    spent = [figure.value for figure in found.by_tolerance.values()]
    assert spent == sorted(spent) and spent[0] < spent[-1]
    assert found.gradients_per_row == found.by_tolerance[0.02]
    assert found.rows_per_second.low > 0 and found.bytes_per_row.low > 0


def test_fixed_steps_are_measured_as_they_are(job_of: Any, tmp_path: pathlib.Path) -> None:
    config = job_of(datasets.keras_classifier, attribution={"steps": 9})
    explainer = Explainer.load(config.model, config.attribution)
    found = piloting.pilot(prepare(config, tmp_path, explainer, Known()), explainer, 5)
    assert found.gradients_per_row == piloting.Figure(9.0, 9.0, 9.0)
    assert found.totals["gradients"] == piloting.Figure(*[9.0 * datasets.ROWS] * 3)


def test_the_manifest_sets_the_measured_beside_the_planned(job_of: Any) -> None:
    config = job_of(datasets.keras_classifier, attribution={"steps": "auto"})
    console = Console(file=io.StringIO(), width=100)
    preview(config, pathlib.Path(config.input.files[0]).parent, console, pilot_rows=6)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for line in ("rows/s", "gradients/row, auto at 0.005", "output, bytes", "pilot: 6 rows"):
        assert line in shown
    out = datasets.launch(config)
    beside = out.manifest["pilot"]
    assert {name: figure["measured"] for name, figure in beside.items()} == {
        name: out.manifest[name] for name in ("seconds", "gradients", "output_bytes")
    }
    assert all(figure["low"] <= figure["value"] <= figure["high"] for figure in beside.values())
    assert verify_run(open_place(out.root), deep=True) == []


def test_another_configuration_has_no_estimate(job_of: Any) -> None:
    config = job_of(datasets.linear)
    preview(config, pathlib.Path(config.input.files[0]).parent, Console(file=io.StringIO()), pilot_rows=3)
    assert datasets.launch(job_of(datasets.linear, attribution={"steps": 9})).manifest["pilot"] == {}


@pytest.mark.parametrize("rows", [(3, 9), (9, 3)])
def test_of_two_pilots_the_larger_counts(job_of: Any, tmp_path: pathlib.Path, rows: tuple[int, int]) -> None:
    place, figure = open_place(str(tmp_path)), piloting.Figure(1.0, 1.0, 1.0)
    for count in rows:
        of = piloting.Figure(float(count), float(count), float(count))
        piloting.store(piloting.Estimate(count, 10, figure, of, {}, figure, "CPU"), place, "f" * 64)
    found = piloting.read_estimate(place, "f" * 64)
    assert found is not None and found["gradients"]["value"] == 90.0
    assert piloting.read_estimate(place, "e" * 64) is None
