"""Valid files of every kind that is read from strangers, which the fuzzing begins with; a few rows each."""

from __future__ import annotations

import gzip
import io
import pathlib
import shutil
import zlib
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from campaigns.fuzz_mutations import framed

ROWS = 9


def write_corpus(folder: pathlib.Path) -> None:
    """A folder for each kind, with its seeds in files named by numbers; and a whole run in `run`."""
    records = [example(row) for row in range(ROWS)]
    plain = framed(records)
    parts = [record for row, record in enumerate(records) if row % 3]
    put(folder, "tfrecord", plain, framed(records[:1]), framed([b"", b"x" * 700, *parts]))
    put(folder, "example", plain, framed(records[:3]))
    members = gzip.compress(plain[:500], mtime=0) + bytes(3) + gzip.compress(plain[500:], 9, mtime=0)
    put(folder, "compressed", gzip.compress(plain, mtime=0), zlib.compress(plain), members)
    put(folder, "parquet", *parquet_files())
    write_run(folder / "run", folder / "made")
    parts_of_run = [*datasets.parts(folder / "run"), *(folder / "run/_quarantine").glob("*.parquet")]
    put(folder, "part", *(path.read_bytes() for path in parts_of_run))
    for kind, name in (("run_json", "_run.json"), ("manifest", "_manifest.json"), ("files", "_files.parquet")):
        put(folder, kind, (folder / "run" / name).read_bytes())
    put(folder, "plan", (folder / "run/_plan.parquet").read_bytes())
    put(folder, "config", *(yaml.safe_dump(one).encode() for one in configurations()))
    saved = [datasets.saved_model(folder / "made/saved"), datasets.sequence(folder / "made/sequence")]
    put(folder, "saved_model", *(pathlib.Path(one.model["path"], "saved_model.pb").read_bytes() for one in saved))
    makers = (datasets.keras_classifier, datasets.keras_multi_input, datasets.keras_multi_output, datasets.pixel_grid)
    kept = [maker(folder / "made" / maker.__name__) for maker in makers]
    put(folder, "keras", *(pathlib.Path(one.model["path"]).read_bytes() for one in kept))
    shutil.rmtree(folder / "made")


def put(folder: pathlib.Path, kind: str, *seeds: bytes) -> None:
    """Write the seeds of one kind."""
    (folder / kind).mkdir(parents=True)
    for number, seed in enumerate(seeds):
        (folder / kind / f"{number}").write_bytes(seed)


def example(row: int) -> bytes:
    """A row as an Example, with a feature of each kind."""
    values = {
        "x": np.float32([row + 0.5, -1.0]),
        "y": np.array([row % 3]),
        "s": np.linspace(0, 1, 1 + row % 4, dtype=np.float32),
        "r": [bytes([row, 7, 255])],
        "id": [f"row {row} é"],
        "b": ["plain text"],
        "many": np.arange(row % 3 + 1),
    }
    (record,) = datasets.examples({name: [value] for name, value in values.items()})
    return record


def parquet_files() -> list[bytes]:
    """The same columns in Parquet, plainly, and in the types and encodings that are read otherwise."""
    count = 3 * ROWS
    pixels = np.arange(2 * count, dtype=np.float32)
    plain: dict[str, Any] = {
        "x": pa.array(list(pixels.reshape(-1, 2))),
        "y": pa.array(np.arange(count) % 3),
        "s": pa.array([np.float32([row] * (1 + row % 4)) for row in range(count)]),
        "r": pa.array([bytes([row, 7, 255]) for row in range(count)]),
        "id": pa.array([f"row {row} é" for row in range(count)]),
        "b": pa.array(["plain text", None, "é"] * ROWS),
        "many": pa.array([[row] * (row % 3) for row in range(count)]),
    }
    tensors = pa.FixedSizeListArray.from_arrays(pa.array(pixels), 2)
    others = plain | {
        "x": pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), [2]), tensors),
        "b": plain["b"].dictionary_encode(),
        "at": pa.array(range(count), pa.timestamp("us", "UTC")),
        "half": pa.array(np.arange(count, dtype=np.float16)),
        "pair": pa.array([{"a": row, "b": [str(row)]} for row in range(count)]),
        "price": pa.array(range(count)).cast(pa.decimal128(21, 2)),
    }
    settings: list[dict[str, Any]] = [
        {"compression": "zstd"},
        {"compression": "snappy", "data_page_version": "2.0", "row_group_size": 5},
        {"compression": "none", "use_dictionary": False, "row_group_size": 7},
    ]
    tables = [pa.table(plain), pa.table(others), pa.table(plain)]
    return [_parquet(table, **chosen) for table, chosen in zip(tables, settings, strict=True)]


def _parquet(table: pa.Table, **settings: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, write_page_checksum=True, **settings)
    return sink.getvalue()


def write_run(out: pathlib.Path, made: pathlib.Path) -> None:
    """A finished run of two parts, with a row in quarantine and a baseline taken from its dataset."""
    rows = datasets.rows(ROWS)
    labels = [None if row == 2 else int(label) for row, label in enumerate(rows["label"])]
    path = datasets.write_parquet(made / "rows.parquet", rows | {"label": pa.array(labels)})
    model = datasets.keras_classifier(made / "model")
    settings = {"target": "label", "steps": 2, "batch_size": 4, "baseline": {"samples": 2}}
    groups: dict[str, Any] = {"input": {"label": "label", "id": "name"}, "output": {"shard_bytes": 250}}
    limits = {"quarantined": 0.5}
    datasets.launch(datasets.job(out, model.model, path, model.features, attribution=settings, limits=limits, **groups))


def configurations() -> list[dict[str, Any]]:
    """Configurations that are taken: a short one, and one that uses many keys."""
    short = {
        "model": {"path": "m.keras"},
        "input": {"files": "rows.parquet", "features": {"x": "pixels"}},
        "output": {"path": "out"},
    }
    long = {
        "model": {"path": "m", "signature": "s", "output": 1, "activation": "softmax", "classes": ["a", "b"]},
        "input": {
            "files": ["s3://bucket/a-*.parquet", "b.tfrecord"],
            "id": "name",
            "features": {
                "x": {"column": "pixels", "shape": [None, 2], "dtype": "uint8", "scale": 0.5, "pad": 1.0},
                "d": {"column": "scan", "decode": "dicom", "window": [40.0, 400.0]},
            },
            "label": "label",
            "keep": ["split"],
            "rows": 9,
        },
        "attribution": {
            "target": {"reduce": "mean", "of": {"contrast": ["a", "b"]}},
            "baseline": {"x": [{"constant": [1, 2]}, {"uniform": [0, 1], "draws": 2}], "d": {"blur": 2.0}},
            "noise": {"kind": "smoothgrad", "draws": 3, "sigma": 0.1},
            "steps": 8,
            "rule": "riemann_middle",
            "batch_size": 16,
        },
        "output": {"path": "out", "dtype": "float16", "reduce": {"x": [-1]}, "groups": {"d": {"g": [0, 1]}}, "top": 3},
        "limits": {"quarantined": 0.1, "record_bytes": "1MiB", "sequence_length": 9},
    }
    return [short, long]
