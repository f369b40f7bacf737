"""`attribeam export-tfma`: the audit of a run as a result of TensorFlow Model Analysis, for `tfma.load_eval_result`."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.tfma_messages import serialized
from transforms.auditing.audit_tables import AuditTables, replace_file
from transforms.errors import UsageError, quoted, without_secrets
from transforms.records.tfrecord import masked_crc
from transforms.storage.manifest import to_json
from transforms.storage.place import open_place

CONFIG = "eval_config.json"
KINDS = ("metrics", "plots", "attributions")
FILES = {kind: f"{kind}-00000-of-00001.tfrecord" for kind in KINDS}
# TFMA's own names of these
MEASURES = {"mean_attributions": "mean", "mean_absolute_attributions": "mean_abs"}
EXAMPLES, ACCURACY = "example_count", "accuracy"
# TFMA holds a result in memory, and shows a column for each feature.
MAX_FEATURES = 1000
OTHER = "(other)"
Slice = tuple[str, str]


def export_tfma(root: str, target: str) -> str:
    """Write the audit that stands in a run's directory to a directory of its own, over an earlier export.

    Returns:
        a line for people.

    Raises:
        AttribeamError: E_AUDIT_MISSING, E_AUDIT_DAMAGED.
        UsageError: E_TFMA_DIRECTORY.
    """
    audit, place = AuditTables.read(open_place(root)), open_place(target)
    if foreign := sorted(set(place.names()) - {CONFIG, *FILES.values()}):
        raise UsageError(
            "E_TFMA_DIRECTORY",
            f"{target} holds {quoted(foreign[0])}, and TFMA reads all that is there; give a directory of its own",
        )
    slices = _slices(audit)
    written = {"metrics": _metrics(slices), "plots": _plots(audit), "attributions": _attributions(audit, slices)}
    with place.alone():
        for kind in KINDS:
            replace_file(place, b"".join(map(_record, written[kind])), FILES[kind])
        replace_file(place, to_json(_config(audit, slices)), CONFIG)
    return f"{place.root}: {len(slices)} slices; read them with tfma.load_eval_result({target!r})"


def _slices(audit: AuditTables) -> dict[Slice, Mapping[str, Any]]:
    return {(row["slice"], row["value"]): row for row in audit["slices"].to_pylist()}


def _metrics(slices: Mapping[Slice, Mapping[str, Any]]) -> Iterator[bytes]:
    """MetricsForSlice: all that `slices` says of each, and how many rows are predicted right."""
    for key, row in slices.items():
        named = {name: value for name, value in row.items() if name not in ("slice", "value", "rows")}
        values = {EXAMPLES: row["rows"], ACCURACY: _accuracy(slices, key), **named}
        pairs = [{"key": {"name": name}, "value": _value(value)} for name, value in values.items() if value is not None]
        yield serialized("MetricsForSlice", {"slice_key": _key(key), "metric_keys_and_values": pairs})


def _accuracy(slices: Mapping[Slice, Mapping[str, Any]], key: Slice) -> float | None:
    """Share of the rows that are predicted right, of those where that can be told."""
    kind, value = key
    known = {"all": ("correct", ""), "label": ("label,correct", f"{value},")}.get(kind)
    if known is None or (known[0], OTHER) in slices:
        return None
    right, wrong = (slices.get((known[0], known[1] + end), {}).get("rows", 0) for end in ("right", "wrong"))
    return right / (right + wrong) if right + wrong else None


def _attributions(audit: AuditTables, slices: Iterable[Slice]) -> Iterator[bytes]:
    """AttributionsForSlice: of each slice, by feature or token, the mean and the mean absolute attribution."""
    chosen = _strongest(audit)
    found: dict[Slice, dict[str, Mapping[str, Any]]] = {key: {} for key in slices}
    for table, column in (("tokens", "token"), ("features", "position")):
        keys = ["slice", "value", "input", column, *MEASURES.values()]
        for row in audit[table].select(keys).to_pylist():
            key, feature = (row["slice"], row["value"]), chosen.get((row["input"], row[column]))
            if feature is not None and (key == ("all", "") or not _pooled(audit, row["input"])):
                found[key][feature] = row
    for key, features in found.items():
        pairs = [
            {"key": {"name": name}, "values": _entries(features, column)} for name, column in sorted(MEASURES.items())
        ]
        yield serialized("AttributionsForSlice", {"slice_key": _key(key), "attributions_keys_and_values": pairs})


def _strongest(audit: AuditTables) -> dict[tuple[str, str | int], str]:
    """By input and token, or position where an input has no tokens, its name; those that matter most in all rows."""
    tokens = audit["tokens"].filter(pc.equal(audit["tokens"]["slice"], "all"))
    features = audit["features"].filter(pc.equal(audit["features"]["slice"], "all"))
    features = features.filter(pc.invert(pc.is_in(features["input"], value_set=_distinct(tokens["input"]))))
    rows = [(row["share_mean"], row["input"], row["token"], row["token"]) for row in tokens.to_pylist()]
    for row in features.to_pylist():
        name = str(row["position"]) if row["name"] is None else row["name"]
        rows.append((row["share_mean"], row["input"], row["position"], name))
    ordered = sorted((row for row in rows if row[2] != OTHER), key=lambda row: -(row[0] or 0.0))
    return {(input_, key): f"{input_}/{name}" for _, input_, key, name in ordered[:MAX_FEATURES]}


def _distinct(column: pa.ChunkedArray) -> pa.Array:
    return column.unique().cast(pa.string())


def _pooled(audit: AuditTables, input_: str) -> bool:
    """Whether slices other than `all` have a coarser grid of it, whose cells are no features."""
    return bool((audit.about.get("inputs") or {}).get(input_, {}).get("pooled"))


def _entries(features: Mapping[str, Mapping[str, Any]], column: str) -> list[dict[str, Any]]:
    return [
        {"key": name, "value": _value(row[column])} for name, row in sorted(features.items()) if row[column] is not None
    ]


def _plots(audit: AuditTables) -> Iterator[bytes]:
    """PlotsForSlice: labels against predictions, where both are classes; of all rows, whatever their probability."""
    ids = {str(name): index for index, name in enumerate(audit.about.get("classes") or ())}
    rows = audit["confusion"].to_pylist()
    pairs = [[_class_id(row[name], ids) for name in ("label", "predicted")] for row in rows]
    if not rows or any(None in pair for pair in pairs):
        return
    entries = [
        {"actual_class_id": label, "predicted_class_id": predicted, "num_weighted_examples": row["rows"]}
        for (label, predicted), row in sorted(zip(pairs, rows, strict=True), key=lambda one: one[0])
    ]
    matrices = {"multi_class_confusion_matrix_at_thresholds": {"matrices": [{"threshold": 0.0, "entries": entries}]}}
    yield serialized(
        "PlotsForSlice", {"slice_key": _key(("all", "")), "plot_keys_and_values": [{"key": {}, "value": matrices}]}
    )


def _class_id(value: str, ids: Mapping[str, int]) -> int | None:
    """The entry of the output that a label is, by name or number; None for what is neither."""
    return ids.get(value, int(value) if value.isdecimal() and len(value) < 10 else None)


def _key(key: Slice) -> dict[str, Any]:
    """A slice as TFMA has it: none for all rows, two columns for what is crossed."""
    columns, value = key[0].split(",") if key[0] == "label,correct" else [key[0]], key[1]
    values = value.rsplit(",", 1) if len(columns) == 2 else [value]
    pairs = [] if key == ("all", "") else zip(columns, values, strict=True)
    return {"single_slice_keys": [{"column": column, "bytes_value": text.encode()} for column, text in pairs]}


def _value(number: float) -> dict[str, Any]:
    return {"double_value": {"value": float(number)}}


def _config(audit: AuditTables, slices: Iterable[Slice]) -> dict[str, Any]:
    """An EvalRun, of which TFMA reads the slices and what is shown of the data and the model."""
    run = audit.about.get("run", {})
    kinds = dict.fromkeys(kind for kind, _ in slices)
    columns = [kind.split(",") if kind == "label,correct" else [kind] for kind in kinds]
    files = run.get("input")
    return {
        "eval_config": {
            "model_specs": [{"label_key": "label"}],
            "slicing_specs": [{} if one == ["all"] else {"feature_keys": one} for one in columns],
            "metrics_specs": [{"metrics": [{"class_name": "ExampleCount"}]}],
        },
        "version": f"attribeam {audit.about.get('attribeam')}",
        "data_location": without_secrets(", ".join(files) if isinstance(files, list) else str(files)),
        "model_locations": {"": without_secrets(str(run.get("model")))},
    }


def _record(data: bytes) -> bytes:
    """A record of a TFRecord file."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))
