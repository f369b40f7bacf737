"""`AuditTables`: what an audit found, as a value: the tables of `OUT/_audit/` and its `audit.json`."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import AttribeamError
from transforms.storage.manifest import sha256_of, to_json
from transforms.storage.place import Place

FOLDER, ABOUT = "_audit", "audit.json"
SCHEMA_VERSION = 1
QUANTILES = {"p01": 0.01, "p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}

_SLICE = [("slice", pa.string()), ("value", pa.string())]


def _doubles(*names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, pa.float64()) for name in names]


def _counts(*names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, pa.int64()) for name in names]


# By table. `rows` goes on with the columns of the run's parts, tensors as lists.
SCHEMAS: Mapping[str, pa.Schema] = {
    "slices": pa.schema(
        [
            *_SLICE,
            *_counts("rows", "ok", "unconverged", "flat", "nonfinite"),
            *_doubles(
                "output_mean", "output_variance", "baseline_output_mean", "baseline_output_variance", "delta_mean"
            ),
            *_doubles("relative_delta_p50", "relative_delta_p95", "relative_delta_max"),
            *_doubles("error_estimate_p50", "error_estimate_p95", "error_estimate_max"),
            *_doubles("steps_mean", "steps_p50", "steps_max", "blind_share_mean"),
        ]
    ),
    "features": pa.schema(
        [
            *_SLICE,
            ("input", pa.string()),
            ("position", pa.int64()),
            ("name", pa.string()),
            *_counts("rows"),
            *_doubles("mean", "mean_abs", "variance", "min", "max", *QUANTILES),
            *_doubles("top_share", "share_mean", "share_variance"),
        ]
    ),
    "regions": pa.schema(
        [
            *_SLICE,
            ("input", pa.string()),
            ("region", pa.string()),
            *_counts("rows"),
            *_doubles("share_mean", "share_variance", "area_share"),
        ]
    ),
    "tokens": pa.schema(
        [
            *_SLICE,
            ("input", pa.string()),
            ("token", pa.string()),
            *_counts("rows", "occurrences"),
            *_doubles("mean", "mean_abs", "variance", "top_share", "share_mean", "share_variance"),
        ]
    ),
    "confusion": pa.schema([("label", pa.string()), ("predicted", pa.string()), *_counts("rows")]),
    "histograms": pa.schema([*_SLICE, ("measure", pa.string()), *_doubles("low", "high"), *_counts("rows")]),
    "rows": pa.schema([*_SLICE, ("kind", pa.string()), *_counts("rank"), *_doubles("score")]),
    "duplicates": pa.schema([("row_id", pa.string()), *_counts("target", "rows")]),
    "quarantine": pa.schema([("code", pa.string()), *_counts("rows"), ("message", pa.string())]),
}


@dataclasses.dataclass(frozen=True)
class AuditTables:
    """The tables of an audit, and what is said beside them.

    Attributes:
        tables: by the names of `SCHEMAS`; each is there, if without rows.
        about: what `audit.json` holds.
    """

    tables: Mapping[str, pa.Table]
    about: Mapping[str, Any]

    @classmethod
    def of(cls, tables: Mapping[str, pa.Table], about: Mapping[str, Any]) -> AuditTables:
        """Those tables in their schemas, and the others without rows.

        Raises:
            KeyError, pa.ArrowException: a table, or a column of one, that is none of `SCHEMAS`.
        """
        if unknown := sorted(set(tables) - set(SCHEMAS)):
            raise KeyError(f"an audit has no table {unknown[0]!r}")
        whole = {
            name: _fitted(tables[name], schema) if name in tables else schema.empty_table()
            for name, schema in SCHEMAS.items()
        }
        return cls(whole, about)

    def __getitem__(self, name: str) -> pa.Table:
        """A table, by name."""
        return self.tables[name]

    @classmethod
    def read(cls, place: Place) -> AuditTables:
        """The audit that stands in a run's directory.

        Raises:
            AttribeamError: E_AUDIT_MISSING, E_AUDIT_DAMAGED.
        """
        if not place.exists(f"{FOLDER}/{ABOUT}"):
            raise AttribeamError(
                "E_AUDIT_MISSING", f"{place.root} has no {FOLDER}/{ABOUT}; make it: `attribeam audit {place.root}`"
            )
        try:
            about = json.loads(place.read(f"{FOLDER}/{ABOUT}"))
            tables = {name: _read(place, name, about["tables"][f"{name}.parquet"]["sha256"]) for name in SCHEMAS}
        except (ValueError, KeyError, TypeError, OSError, pa.ArrowException) as error:
            raise AttribeamError(
                "E_AUDIT_DAMAGED",
                f"{place.root}/{FOLDER} is not as it was written; make it again: `attribeam audit {place.root}`",
            ) from error
        return cls(tables, about)

    def write_about(self, place: Place) -> None:
        """Put `audit.json` alone over the one that is there; it says more of the same tables."""
        replace_file(place, to_json(dict(self.about)), f"{FOLDER}/{ABOUT}")

    def write(self, place: Place) -> AuditTables:
        """Put the audit over the one that is there; `audit.json` comes last, and vouches for the rest.

        Returns:
            the audit with `about["tables"]` filled in: by file, its sha256 and number of rows.
        """
        _remove(place, f"{FOLDER}/{ABOUT}")
        written = {}
        for name, table in self.tables.items():
            file = f"{name}.parquet"
            replace_file(place, _to_parquet(table), f"{FOLDER}/{file}")
            written[file] = {"sha256": sha256_of(place, f"{FOLDER}/{file}")[0], "rows": len(table)}
        whole = AuditTables(self.tables, {**self.about, "schema_version": SCHEMA_VERSION, "tables": written})
        replace_file(place, to_json(whole.about), f"{FOLDER}/{ABOUT}")
        return whole


def replace_file(place: Place, data: bytes, name: str) -> None:
    """Put a file of the audit over what is there under its name: it is derived, and may be made again at any time."""
    _remove(place, name)
    place.publish_bytes(data, name)


def _remove(place: Place, name: str) -> None:
    if place.exists(name):
        place.remove(name)


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table's columns in the schema's order and types; those that it has beyond come behind."""
    known = table.select(schema.names).cast(schema)
    for name in table.column_names:
        if name not in schema.names:
            known = known.append_column(table.schema.field(name), table[name])
    return known


def _to_parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def _read(place: Place, name: str, sha256: str) -> pa.Table:
    file = f"{FOLDER}/{name}.parquet"
    if sha256_of(place, file)[0] != sha256:
        raise ValueError(f"{file}: its sha256 is another")
    with place.open(file) as reader:
        return pq.read_table(reader)
