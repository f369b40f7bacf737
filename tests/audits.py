"""Audits of made-up runs: digits with a mark, reviews, a table, a thousand classes, and names that are hard on HTML."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from audit_rows import (
    about,
    confusion_table,
    feature_table,
    histogram_table,
    made_rows,
    region_table,
    row_table,
    slice_table,
    slices_of,
)

from pipeline.report.originals import Originals
from transforms.auditing.audit_tables import SCHEMAS, AuditTables

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></script></textarea><!--",
    "\u202egnp.evil\u2066",
    "nul\x00 bell\x07 escape\x1b[31m",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{1}{0}$ _^$",
    "&lt;b&gt; &#x3c;i&#x3e;",
    "https://example.com/a.js?x=<b>&y",
    "]]><svg onload=alert(1)>",
    "\ud800 lone surrogate".encode("utf-8", "replace").decode(),
    "x" * 10_000,
    "עברית and العربية",
    "",
]


FINDING = {
    "id": "region-label-3-corner",
    "kind": "region",
    "rank": 1,
    "severity": "high",
    "title": "Label 3 is explained by one corner of the image",
    "text": "The top left corner has 38 % of what speaks for label 3, and 6 % of the area; in no other label more "
    "than 4 %. A mark there would do the same. Look at the typical rows of label 3, and cover the corner.",
    "slice": "label",
    "value": "3",
    "input": "image",
    "features": ["corner_top_left"],
    "evidence": {"share_mean": 0.38, "other_labels": 0.04},
    "interval": [0.35, 0.41],
    "confidence": 0.95,
    "rows": 120,
}
SECOND = {
    **FINDING,
    "id": "unconverged",
    "kind": "convergence",
    "rank": 2,
    "severity": "medium",
    "title": "7.1 % of the rows did not converge",
    "text": "Their maps may be wrong. Raise max_steps.",
    "slice": "all",
    "value": "",
    "features": [],
}


def _quarantine() -> pa.Table:
    rows = [
        ("E_FEATURE_DECODE", 2, "digits.parquet row 17: feature 'image' has 12 bytes b'...', no image"),
        ("E_LABEL_MISSING", 1, "digits.parquet row 40: label is null"),
    ]
    return pa.Table.from_pylist(
        [{"code": code, "rows": n, "message": message} for code, n, message in rows], SCHEMAS["quarantine"]
    )


def images(
    count: int = 60, labels: Sequence[str] = tuple("0123"), shape: tuple[int, ...] = (12, 12, 1)
) -> tuple[AuditTables, Originals]:
    """Digits, with findings, quarantine and duplicates, and their originals."""
    rows = made_rows(count, labels, shape)
    duplicates = pa.Table.from_pylist([{"row_id": "digits.parquet#3", "target": 1, "rows": 2}], SCHEMAS["duplicates"])
    tables = {
        "slices": slice_table(rows),
        "features": feature_table(rows, "image"),
        "regions": region_table(rows, "image"),
        "rows": row_table(rows, "image"),
        "histograms": histogram_table(rows),
        "confusion": confusion_table(rows),
        "quarantine": _quarantine(),
        "duplicates": duplicates,
    }
    known = {("digits.parquet", place): {"image": np.clip(rows.maps[place] * 1.4, 0, 1)} for place in range(count)}
    extra = {
        "findings": [FINDING, SECOND],
        "limits": ["2 values of source_file beyond the first 1,000 are folded into (other)"],
    }
    return AuditTables.of(tables, about("image", shape, "image", rows, **extra)), Originals(known)


def table(
    count: int = 120, names: Sequence[str] | None = None, labels: Sequence[str] = ("benign", "malignant")
) -> tuple[AuditTables, Originals]:
    """Thirty numbers a row."""
    size = len(names) if names else 30
    rows = made_rows(count, labels, (size,))
    tables = {
        "slices": slice_table(rows),
        "features": feature_table(rows, "table", names),
        "rows": row_table(rows, "table"),
        "histograms": histogram_table(rows),
        "confusion": confusion_table(rows),
        "quarantine": _quarantine(),
    }
    known = {("digits.parquet", place): {"table": rows.maps[place] * 10} for place in range(count)}
    return AuditTables.of(tables, about("table", (size,), "table", rows)), Originals(known)


def text(
    count: int = 60,
    words: Sequence[str] = (
        "a",
        "film",
        "so",
        "dull",
        "that",
        "even",
        "its",
        "superb",
        "cast",
        "sleeps",
        "through",
        "it",
    ),
    labels: Sequence[str] = ("negative", "positive"),
) -> tuple[AuditTables, Originals]:
    """Reviews of twelve words."""
    rows = made_rows(count, labels, (len(words),))
    spread = np.random.default_rng(3).normal(0, 0.2, rows.maps.shape)
    rows = dataclasses.replace(rows, maps=rows.maps * np.sign(spread))
    lines = [
        {
            "slice": kind,
            "value": value,
            "input": "embedding",
            "token": word,
            "rows": int(mask.sum()),
            "occurrences": int(mask.sum()) * 2,
            "mean": float(rows.maps[mask][:, at].mean()),
            "mean_abs": float(np.abs(rows.maps[mask][:, at]).mean()),
            "variance": 0.1,
            "top_share": at / len(words),
            "share_mean": float(np.abs(rows.maps[mask][:, at]).mean() / np.abs(rows.maps[mask]).sum(axis=1).mean()),
        }
        for (kind, value), mask in slices_of(rows).items()
        for at, word in enumerate(words)
    ]
    tables = {
        "slices": slice_table(rows),
        "tokens": pa.Table.from_pylist(lines, SCHEMAS["tokens"]),
        "rows": row_table(rows, "embedding", {"words": [list(words)] * count}),
        "histograms": histogram_table(rows),
        "confusion": confusion_table(rows),
    }
    return AuditTables.of(tables, about("embedding", (None,), "sequence", rows)), Originals()


def hostile(words: Sequence[str] = HOSTILE) -> tuple[AuditTables, Originals]:
    """Every name that a stranger chooses is one of these fifteen."""
    names = [*words, *(f"{name}{name[:20]}" for name in words)]
    audit, _ = table(180, names, words)
    lines = audit["rows"].to_pylist()
    for number, line in enumerate(lines):
        line |= {name: words[number % len(words)] for name in ("row_id", "source_file", "status", "kind")}
    first = words[0]
    finding = {
        **FINDING,
        "id": first,
        "severity": "high",
        "title": words[1],
        "text": words[12],
        "value": words[2],
        "input": first,
        "features": list(words),
        "evidence": {words[3]: words[4]},
    }
    values = dict(
        zip(("output", "fingerprint", "model", "method", "baseline", "target", "devices"), words, strict=False)
    )
    run = {**audit.about["run"], **values, "command": list(words), "versions": dict.fromkeys(words, first)}
    changed = {
        "run": run,
        "findings": [finding],
        "limits": list(words),
        "tables": {name: {"sha256": name, "rows": 1} for name in words},
        "inputs": {
            **audit.about["inputs"],
            **{name: {"shape": [8, 8], "kind": name, "pooled": None} for name in words},
        },
        "classes": words,
    }
    tables = {**audit.tables, "rows": pa.Table.from_pylist(lines)}
    tables["quarantine"] = pa.Table.from_pylist(
        [{"code": name, "rows": 1, "message": name} for name in words], SCHEMAS["quarantine"]
    )
    tables["duplicates"] = pa.Table.from_pylist(
        [{"row_id": name, "target": None, "rows": 2} for name in words], SCHEMAS["duplicates"]
    )
    return AuditTables.of(tables, {**audit.about, **changed}), Originals({}, words)


def thousand(labels: int = 1000, side: int = 28) -> tuple[AuditTables, Originals]:
    """A thousand classes of photographs, a million rows by what the counts say."""
    names = [f"class {number:04d}, a name of some length" for number in range(labels)]
    audit, known = images(labels * 4, names, (side, side, 1))
    slices = audit["slices"]
    for column in ("rows", "ok", "unconverged", "flat", "nonfinite"):
        place = slices.column_names.index(column)
        slices = slices.set_column(place, column, pa.array(slices[column].to_numpy() * 250))
    run = {**audit.about["run"], "rows": labels * 1000}
    return AuditTables({**audit.tables, "slices": slices}, {**audit.about, "run": run}), known
