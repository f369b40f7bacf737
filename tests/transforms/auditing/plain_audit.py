"""An audit computed plainly, slice by slice over all rows at once: what the mergeable one must equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

Slices = dict[tuple[str, str], np.ndarray]


def text(value: Any) -> str:
    """As a slice names it."""
    return "(null)" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def slices_of(
    table: pa.Table, kept: tuple[str, ...] = ("site", "night"), classes: tuple[str, ...] | None = None
) -> Slices:
    """Which rows are in which slice, bool [rows] each.

    Args:
        classes: names of what is predicted, where labels are names.
    """
    rows = table.to_pylist()
    found: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(rows):
        label, predicted = row.get("label"), row.get("predicted")
        names = [("all", ""), ("status", row["status"]), ("source_file", row["source_file"])]
        names += [(f"keep:{name}", text(row[name])) for name in kept]
        if "label" in row:
            names.append(("label", text(label)))
        if predicted is not None:
            names.append(("predicted", text(predicted)))
        named = predicted if classes is None or predicted is None else dict(enumerate(classes)).get(predicted)
        if "label" in row and label is not None and named is not None:
            right = "right" if label == named else "wrong"
            names += [("correct", right), ("label,correct", f"{text(label)},{right}")]
        for name in names:
            found.setdefault(name, []).append(place)
    return {name: np.isin(np.arange(len(rows)), places) for name, places in found.items()}


def maps_of(table: pa.Table, name: str) -> np.ndarray:
    """float64 [rows, positions] of an input."""
    return np.stack([np.ravel(values) for values in table[f"attribution_{name}"].to_pylist()]).astype(np.float64)


def strongest(sizes: np.ndarray, count: int) -> np.ndarray:
    """Which positions of each row have fewer than `count` stronger ones, and are not 0."""
    stronger = (sizes[:, np.newaxis, :] > sizes[:, :, np.newaxis]).sum(axis=2)
    return (stronger < count) & (sizes > 0)


def features(maps: np.ndarray, shares: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """By column of `features`, [positions], of the rows of one slice.

    Args:
        shares: of each row's Σ|A| over all its inputs, [rows, positions].
    """
    rows = len(maps)
    spread = np.full(maps.shape[1], np.nan)
    return {
        "rows": np.full(maps.shape[1], rows),
        "mean": maps.mean(axis=0),
        "mean_abs": np.abs(maps).mean(axis=0),
        "variance": maps.var(axis=0, ddof=1) if rows > 1 else spread,
        "min": maps.min(axis=0),
        "max": maps.max(axis=0),
        "top_share": strongest(np.abs(maps), count).mean(axis=0),
        "share_mean": shares.mean(axis=0),
        "share_variance": shares.var(axis=0, ddof=1) if rows > 1 else spread,
    }


def region_masks(height: int, width: int) -> dict[str, np.ndarray]:
    """The pixels of each region, pixel by pixel, bool [height, width]."""
    found: dict[str, np.ndarray] = {}

    def put(name: str, row: int, column: int) -> None:
        found.setdefault(name, np.zeros((height, width), bool))[row, column] = True

    for row in range(height):
        for column in range(width):
            put(f"cell_{row * 4 // height}_{column * 4 // width}", row, column)
            top, bottom = row < height // 4, row >= height - height // 4
            left, right = column < width // 4, column >= width - width // 4
            for name, inside in (
                ("corner_top_left", top and left),
                ("corner_top_right", top and right),
                ("corner_bottom_left", bottom and left),
                ("corner_bottom_right", bottom and right),
                ("centre", not (top or bottom or left or right)),
                ("border_top", row < height // 8),
                ("border_bottom", row >= height - height // 8),
                ("border_left", column < width // 8),
                ("border_right", column >= width - width // 8),
            ):
                if inside:
                    put(name, row, column)
    found["border"] = sum(found[f"border_{side}"] for side in ("top", "bottom", "left", "right")) > 0
    return found
