"""Pairs of rows, compared: their measures, a row for each, and what they add up to."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.comparing.aligning import Aligned, Columns, align
from transforms.comparing.features import Features
from transforms.comparing.measures import NAMES, measure
from transforms.comparing.significance import PairedMoments
from transforms.comparing.slices import members
from transforms.comparing.tally import SliceTally, Tally, histograms, most_moved
from transforms.records.values import Doubles

SIDES = ("a", "b")
BESIDE: dict[str, pa.DataType] = {"output": pa.float32(), "predicted": pa.int64(), "status": pa.string()}


@dataclasses.dataclass(frozen=True)
class Compared:
    """How rows are compared.

    Attributes:
        columns: by explained input, how each run has stored it.
        slices: by slice name, the column of the first run.
        features: of which importances are compared.
    """

    columns: tuple[Columns, ...]
    slices: Mapping[str, str]
    features: Features


def compare_rows(a: pa.Table, b: pa.Table, how: Compared) -> tuple[pa.Table, Tally]:
    """Two tables that hold the same rows in the same order.

    Returns:
        A row for each pair: `row_id`, `target`, of each side `output`, `predicted` and `status` (`_a`, `_b`), and the
        measures, null where there is none; and what the pairs add up to.
    """
    aligned = align(a, b, how.columns, how.features)
    measured = {name: np.where(aligned.comparable, values, np.nan) for name, values in measure(aligned.pairs).items()}
    rows = _rows(a, b, measured)
    counts = Counter(
        pairs=a.num_rows,
        measured=int(aligned.comparable.sum()),
        other_length=int(aligned.other_length.sum()),
        nonfinite=int(aligned.nonfinite.sum()),
    )
    statuses = Counter(zip(rows["status_a"].to_pylist(), rows["status_b"].to_pylist(), strict=True))
    slices = dict(_slices(a, rows, aligned, measured["drift"], how))
    tally = Tally(counts, statuses, histograms(measured), {}, most_moved(rows))
    return rows, tally + Tally(slices=slices)


def _rows(a: pa.Table, b: pa.Table, measured: Mapping[str, Doubles]) -> pa.Table:
    columns: dict[str, pa.Array | pa.ChunkedArray] = {"row_id": a["row_id"].cast(pa.string()), "target": a["target"]}
    for name, kind in BESIDE.items():
        for side, table in zip(SIDES, (a, b), strict=True):
            there = name in table.column_names
            columns[f"{name}_{side}"] = table[name].cast(kind) if there else pa.nulls(table.num_rows, kind)
    for name in NAMES:
        columns[name] = pa.array(measured[name], pa.float64(), mask=np.isnan(measured[name]))
    return pa.table(columns)


def _slices(
    a: pa.Table, rows: pa.Table, aligned: Aligned, drift: Doubles, how: Compared
) -> Iterator[tuple[tuple[str, str], SliceTally]]:
    shares = aligned.pairs.shares(len(how.features.all))
    outputs = [rows[f"output_{side}"].to_numpy().astype(np.float64)[:, np.newaxis] for side in SIDES]
    finite = np.isfinite(outputs[0] + outputs[1])[:, 0]
    both, changed = _changes(rows, "predicted")
    _, status_changed = _changes(rows, "status")
    for name, found in members(a, how.slices):
        here = found[aligned.comparable[found]]
        known = found[finite[found]]
        moved = drift[here][:, np.newaxis]
        yield (
            name,
            SliceTally(
                len(found),
                PairedMoments.of(*(share[here] for share in shares)),
                PairedMoments.of(np.zeros_like(moved), moved),
                PairedMoments.of(*(output[known] for output in outputs)),
                int(both[found].sum()),
                int(changed[found].sum()),
                int(status_changed[found].sum()),
            ),
        )


def _changes(rows: pa.Table, name: str) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which rows have a value on both sides, and which have two different ones."""
    sides = [rows[f"{name}_{side}"] for side in SIDES]
    both = pc.and_(sides[0].is_valid(), sides[1].is_valid()).to_numpy()
    return both, pc.fill_null(pc.not_equal(*sides), False).to_numpy()
