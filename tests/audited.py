"""Audits for the tests: the tables of maps that are held in memory, by numpy, as docs/audit_findings.md reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.auditing.audit_tables import QUANTILES, SCHEMAS, AuditTables

STATUSES = "ok", "unconverged", "flat", "nonfinite"


@dataclasses.dataclass(frozen=True)
class Maps:
    """Rows that were explained.

    Attributes:
        slices: by name, the value of each row; "all" is added.
        maps: by input, [rows, *shape]; three or more axes are images.
        texts: by input, each row's tokens, with the attribution of each.
        outputs, baseline_outputs: F(x), F(x') [rows].
        status: of each row.
        about: what audit.json holds.
    """

    slices: Mapping[str, Sequence[str]]
    maps: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    texts: Mapping[str, Sequence[tuple[Sequence[str], np.ndarray]]] = dataclasses.field(default_factory=dict)
    outputs: np.ndarray | None = None
    baseline_outputs: np.ndarray | None = None
    status: Sequence[str] | None = None
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter([*self.maps.values(), *self.texts.values()])))

    def totals(self) -> np.ndarray:
        """Σ|A| of each row over all inputs, [rows]."""
        sums = [np.abs(value).reshape(len(self), -1).sum(axis=1) for value in self.maps.values()]
        sums += [np.array([np.abs(values).sum() for _, values in rows]) for rows in self.texts.values()]
        return np.sum(sums, axis=0)

    def chosen(self) -> Iterator[tuple[str, str, np.ndarray]]:
        """Slice, value and which rows."""
        yield "all", "", np.arange(len(self))
        for name, values in self.slices.items():
            for value in dict.fromkeys(values):
                yield name, value, np.flatnonzero(np.asarray(values) == value)


def audit(maps: Maps) -> AuditTables:
    """The tables that findings read."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ("slices", "features", "regions", "tokens")}
    for name, value, rows in maps.chosen():
        where = {"slice": name, "value": value}
        found["slices"].append(where | _slice(maps, rows))
        for input_, values in maps.maps.items():
            flat = values.reshape(len(maps), -1)[rows]
            shares = _shares(np.abs(flat), maps.totals()[rows])
            found["features"] += [where | {"input": input_} | one for one in _features(flat, shares)]
            if values.ndim >= 3:
                found["regions"] += [where | {"input": input_} | one for one in _regions(values[rows])]
        for input_, texts in maps.texts.items():
            some = [texts[row] for row in rows]
            found["tokens"] += [where | {"input": input_} | one for one in _tokens(some, maps.totals()[rows])]
    return tables(maps.about, **found)


def tables(about: Mapping[str, Any], **rows: Sequence[Mapping[str, Any]]) -> AuditTables:
    """An audit whose tables have these rows; null where a row says nothing of a column."""
    made = {}
    for name in rows:
        made[name] = pa.Table.from_pylist(list(rows.get(name, ())), SCHEMAS[name])
    return AuditTables.of(made, about)


def regions(height: int, width: int) -> dict[str, np.ndarray]:
    """By name, which pixels are in it, bool [height, width]."""
    y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    sides = {"top": y < 1 / 8, "bottom": y >= 7 / 8, "left": x < 1 / 8, "right": x >= 7 / 8}
    far = {"top": y < 1 / 4, "bottom": y >= 3 / 4, "left": x < 1 / 4, "right": x >= 3 / 4}
    found = {
        f"cell_{row}_{column}": (y * 4 // 1 == row) & (x * 4 // 1 == column) for row in range(4) for column in range(4)
    }
    found |= {f"corner_{a}_{b}": far[a] & far[b] for a in ("top", "bottom") for b in ("left", "right")}
    found |= {f"border_{name}": mask for name, mask in sides.items()}
    border = np.any(list(sides.values()), axis=0)
    return found | {"border": border, "centre": (np.abs(y - 0.5) < 1 / 4) & (np.abs(x - 0.5) < 1 / 4)}


def _slice(maps: Maps, rows: np.ndarray) -> dict[str, Any]:
    found: dict[str, Any] = {"rows": len(rows)}
    status = np.asarray(maps.status if maps.status is not None else ["ok"] * len(maps))[rows]
    found |= {name: int((status == name).sum()) for name in STATUSES}
    for name, values in (("output", maps.outputs), ("baseline_output", maps.baseline_outputs)):
        if values is not None:
            found |= {f"{name}_mean": values[rows].mean(), f"{name}_variance": _variance(values[rows])}
    return found


def _features(flat: np.ndarray, shares: np.ndarray) -> Iterator[dict[str, Any]]:
    for position in range(flat.shape[1]):
        values, share = flat[:, position], shares[:, position]
        yield {
            "position": position,
            "rows": len(values),
            "mean": values.mean(),
            "mean_abs": np.abs(values).mean(),
            "variance": _variance(values),
            "share_mean": share.mean(),
            "share_variance": _variance(share),
            **dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values())), strict=True)),
        }


def _regions(values: np.ndarray) -> Iterator[dict[str, Any]]:
    pixels = np.abs(values).reshape(*values.shape[:3], -1).sum(axis=-1)
    for region, mask in regions(*pixels.shape[1:]).items():
        share = _shares(pixels[:, mask], pixels.sum(axis=(1, 2))).sum(axis=1)
        yield {
            "region": region,
            "rows": len(share),
            "share_mean": share.mean(),
            "share_variance": _variance(share),
            "area_share": mask.mean(),
        }


def _tokens(texts: Sequence[tuple[Sequence[str], np.ndarray]], totals: np.ndarray) -> Iterator[dict[str, Any]]:
    shares: dict[str, dict[int, float]] = {}
    for row, (tokens, values) in enumerate(texts):
        for token, part in zip(tokens, _shares(np.abs(values)[None], totals[row : row + 1])[0], strict=True):
            held = shares.setdefault(token, {})
            held[row] = held.get(row, 0.0) + part
    for token, held in shares.items():
        every = np.array([held.get(row, 0.0) for row in range(len(texts))])
        yield {"token": token, "rows": len(held), "share_mean": every.mean(), "share_variance": _variance(every)}


def _shares(parts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    return parts / np.where(totals == 0, 1.0, totals)[:, None]


def _variance(values: np.ndarray) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0
