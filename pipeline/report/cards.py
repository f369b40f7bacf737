"""One row as a card: what it is, how far it can be trusted, and its attributions over what was explained."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.report import pictures, wording
from pipeline.report.chosen import Mention
from pipeline.report.confusion import Confusion
from pipeline.report.importances import label_of
from pipeline.report.originals import Inputs, Originals
from pipeline.report.pictures import Picture
from pipeline.report.stored import Explained, Row, Stored, as_picture
from pipeline.report.tokens import Highlighted, highlighted, tokens_of
from pipeline.report.waterfall import Bar, waterfall

Values = npt.NDArray[np.float64]
STATUS_TONES = {"ok": "good", "unconverged": "bad", "flat": "warn", "nonfinite": "bad"}
SOURCE_CHARACTERS = 120


@dataclasses.dataclass(frozen=True)
class Card:
    """A row as it is shown.

    Attributes:
        right: whether label and prediction agree; None where one is not known.
        texts: by input, its tokens.
        bars: its waterfall, for what is neither picture nor text.
    """

    anchor: str
    title: str
    kind: str
    score: str
    status: str
    tone: str
    label: str
    predicted: str
    right: bool | None
    facts: Sequence[tuple[str, str]]
    source: str
    pictures: Sequence[tuple[str, Sequence[Picture]]]
    texts: Sequence[tuple[str, Highlighted]]
    bars: Sequence[Bar]


def card(stored: Stored, confusion: Confusion, mention: Mention, originals: Originals) -> Card:
    """The card of a row."""
    row = stored.audit["rows"].slice(mention.place, 1).to_pylist()[0]
    known = originals.of(row.get("source_file"), row.get("source_row"))
    pictured, texts, steps = [], [], list[tuple[str, float]]()
    for explained in stored.inputs:
        values, places = attribution(row, explained)
        tokens = tokens_of(row, values, stored.token_column(explained.name)) if not explained.is_image else None
        if explained.is_image:
            pictured.append((wording.name(explained.name), _pictures(values, places, explained, known)))
        elif tokens and places is None:
            texts.append((wording.name(explained.name), highlighted(tokens, values)))
        else:
            steps += _steps(stored, explained, (values, places), known)
            continue
        steps.append((f"{wording.name(explained.name)}, all of it", float(values.sum())))
    label, predicted = row.get("label"), row.get("predicted")
    status = str(row.get("status"))
    return Card(
        mention.anchor,
        wording.name(row.get("row_id"), SOURCE_CHARACTERS),
        wording.name(mention.kind),
        wording.number(mention.score),
        wording.name(status),
        STATUS_TONES.get(status, "quiet"),
        wording.NOTHING if label is None else stored.class_name(label),
        wording.NOTHING if predicted is None else stored.class_name(predicted),
        confusion.agree(label, predicted),
        _facts(row),
        f"{wording.name(row.get('source_file'), SOURCE_CHARACTERS)}, row {wording.count(row.get('source_row'))}",
        pictured,
        texts,
        _bars(row, steps) if len(steps) > len(pictured) + len(texts) else [],
    )


def attribution(row: Row, explained: Explained) -> tuple[Values, npt.NDArray[np.int64] | None]:
    """A row's attributions of an input, and the positions they belong to; None where they are all there are."""
    values = np.asarray(row.get(f"attribution_{explained.name}") or [], np.float64).ravel()
    kept = row.get(f"index_{explained.name}")
    return values, None if kept is None else np.asarray(kept, np.int64)


def _facts(row: Row) -> list[tuple[str, str]]:
    return [
        ("F(x)", wording.number(row.get("output"))),
        ("F(x′)", wording.number(row.get("baseline_output"))),
        ("delta", wording.signed(row.get("delta"))),
        ("relative delta", wording.percent(row.get("relative_delta"))),
        ("error estimate", wording.percent(row.get("error_estimate"))),
        ("steps", wording.count(row.get("steps"))),
    ]


def _pictures(
    values: Values, places: npt.NDArray[np.int64] | None, explained: Explained, known: Inputs
) -> list[Picture]:
    shape = tuple(int(axis or 0) for axis in explained.shape)
    flat = np.zeros(explained.size or 0)
    flat[places if places is not None else slice(len(values))] = values[: len(flat)]
    heat = as_picture(flat, shape)
    behind = known.get(explained.name)
    if behind is not None and not (behind.ndim in (2, 3) and behind.shape[:2] == heat.shape):
        behind = None
    return [
        *([] if behind is None else [pictures.original(behind).called("the input")]),
        pictures.signed(heat).called("A: for, against"),
        pictures.magnitude(heat, behind).called("abs(A), clipped"),
    ]


def _steps(
    stored: Stored,
    explained: Explained,
    found: tuple[Values, npt.NDArray[np.int64] | None],
    known: Inputs,
) -> list[tuple[str, float]]:
    """Features with their values in the row, where the map has the input's own positions."""
    values, places = found
    names, given = stored.feature_names(explained.name), known.get(explained.name)
    own = given.ravel() if given is not None and given.size == explained.size and not names.keys() else None
    numbered = zip(range(len(values)) if places is None else places.tolist(), values.tolist(), strict=False)
    return [
        (_named(label_of(names.get(place), place, explained), None if own is None else own[place]), value)
        for place, value in numbered
    ]


def _named(label: str, value: Any) -> str:
    short = wording.name(label, 40)
    return short if value is None else f"{short} = {wording.number(value)}"


def _bars(row: Row, steps: Sequence[tuple[str, float]]) -> list[Bar]:
    start, end, delta = (
        0.0 if wording.missing(row.get(name)) else float(row[name]) for name in ("baseline_output", "output", "delta")
    )
    return waterfall(steps, start, end, delta)
