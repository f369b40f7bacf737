"""`attribeam export-tfma`: what TensorFlow Model Analysis is to read holds the numbers of the audit's tables; that TFMA
reads it so, tests/campaigns/tfma.py shows."""

from __future__ import annotations

import json
import pathlib
from collections import Counter
from typing import Any

import audits
import pytest
import tensorflow as tf
from datasets import Command

from pipeline.tfma_export import FILES, export_tfma
from pipeline.tfma_messages import message_class, serialized
from transforms.auditing.audit_tables import AuditTables
from transforms.storage.place import open_place

MAKERS = (audits.images, audits.table, audits.text, audits.hostile)
MESSAGES = {"metrics": "MetricsForSlice", "plots": "PlotsForSlice", "attributions": "AttributionsForSlice"}


def exported(audit: AuditTables, folder: pathlib.Path) -> dict[str, list[Any]]:
    """The messages that an audit becomes, by kind."""
    audit.write(open_place(str(folder / "out")))
    export_tfma(str(folder / "out"), str(folder / "tfma"))
    return {kind: messages(folder / "tfma" / FILES[kind], name) for kind, name in MESSAGES.items()}


def messages(file: pathlib.Path, name: str) -> list[Any]:
    """Of a TFRecord file, as TensorFlow reads it."""
    return [message_class(name).FromString(data) for data in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()]


def key_of(message: Any) -> tuple[tuple[str, str], ...]:
    return tuple((one.column, one.bytes_value.decode()) for one in message.slice_key.single_slice_keys)


def key(row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The same of a row of a table."""
    if row["slice"] == "label,correct":
        return tuple(zip(("label", "correct"), row["value"].rsplit(",", 1), strict=True))
    return () if row["slice"] == "all" else ((row["slice"], row["value"]),)


@pytest.mark.parametrize("make", MAKERS)
def test_it_holds_the_numbers_of_the_tables(make: Any, tmp_path: pathlib.Path) -> None:
    audit, _ = make()
    found = exported(audit, tmp_path)
    metrics = {
        key_of(one): {pair.key.name: pair.value.double_value.value for pair in one.metric_keys_and_values}
        for one in found["metrics"]
    }
    rows = audit["slices"].to_pylist()
    assert len(metrics) == len(rows)
    for row in rows:
        own = metrics[key(row)]
        assert own.pop("example_count") == row["rows"]
        own.pop("accuracy", None)
        assert own == {
            name: value for name, value in row.items() if name not in ("slice", "value", "rows") and value is not None
        }
    whole = audit["tokens"] if len(audit["tokens"]) else audit["features"]
    expected = {}
    for row in whole.to_pylist():
        name = row["token"] if "token" in row else row["position"] if row["name"] is None else row["name"]
        expected[key(row), f"{row['input']}/{name}"] = (row["mean"], row["mean_abs"])
    assert attributions(found["attributions"]) == expected


def attributions(found: list[Any]) -> dict[Any, tuple[float, float]]:
    """By slice and feature, the mean and the mean absolute attribution."""
    both: dict[Any, dict[str, float]] = {}
    for one in found:
        for pair in one.attributions_keys_and_values:
            for entry in pair.values:
                both.setdefault((key_of(one), entry.key), {})[pair.key.name] = entry.value.double_value.value
    return {name: (own["mean_attributions"], own["mean_absolute_attributions"]) for name, own in both.items()}


def test_accuracy_and_confusion(tmp_path: pathlib.Path) -> None:
    audit, _ = audits.images()
    found = exported(audit, tmp_path)
    pairs = Counter({(row["label"], row["predicted"]): row["rows"] for row in audit["confusion"].to_pylist()})
    (plot,) = found["plots"]
    (matrix,) = plot.plot_keys_and_values[0].value.multi_class_confusion_matrix_at_thresholds.matrices
    stored = {(str(e.actual_class_id), str(e.predicted_class_id)): e.num_weighted_examples for e in matrix.entries}
    assert stored == pairs
    (all_rows,) = [one for one in found["metrics"] if not one.slice_key.single_slice_keys]
    (accuracy,) = [pair.value for pair in all_rows.metric_keys_and_values if pair.key.name == "accuracy"]
    right = sum(rows for (label, predicted), rows in pairs.items() if label == predicted)
    assert accuracy.double_value.value == right / pairs.total()


def test_labels_that_are_no_classes_have_no_plot(tmp_path: pathlib.Path) -> None:
    assert exported(audits.table()[0], tmp_path)["plots"] == []


def test_the_configuration_names_the_slices(tmp_path: pathlib.Path) -> None:
    audit, _ = audits.table()
    exported(audit, tmp_path)
    config = json.loads((tmp_path / "tfma/eval_config.json").read_text(encoding="utf-8"))
    slicing = config["eval_config"]["slicing_specs"]
    assert slicing == [{}, *({"feature_keys": keys} for keys in (["correct"], ["label"], ["label", "correct"]))]
    assert config["version"] and config["model_locations"] == {"": "models/digits.keras"}


# Of the same values, as TFMA 0.52.0 serialises them
SLICE_OF_TFMA = "0a1d0a090a056c6162656c12000a100a07636f7272656374120577726f6e67"
OF_TFMA = {
    "metrics": "9a031e0a0f0a0d6578616d706c655f636f756e74120b0a09090000000000000840",
    "attributions": "12290a130a116d65616e5f6174747269627574696f6e7312120a03782f30120b0a0909000000000000e0bf",
    "plots": "42200a00121c221a0a1809000000000000e03f120d08011002190000000000001040",
}
SLICE = {"single_slice_keys": [{"column": "label", "bytes_value": b""}, {"column": "correct", "bytes_value": b"wrong"}]}
VALUES = {
    "metrics": {
        "metric_keys_and_values": [{"key": {"name": "example_count"}, "value": {"double_value": {"value": 3}}}]
    },
    "attributions": {
        "attributions_keys_and_values": [
            {
                "key": {"name": "mean_attributions"},
                "values": [{"key": "x/0", "value": {"double_value": {"value": -0.5}}}],
            }
        ]
    },
    "plots": {
        "plot_keys_and_values": [
            {
                "key": {},
                "value": {
                    "multi_class_confusion_matrix_at_thresholds": {
                        "matrices": [
                            {
                                "threshold": 0.5,
                                "entries": [
                                    {"actual_class_id": 1, "predicted_class_id": 2, "num_weighted_examples": 4.0}
                                ],
                            }
                        ]
                    }
                },
            }
        ]
    },
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_the_bytes_are_those_of_tfma(kind: str) -> None:
    assert serialized(MESSAGES[kind], {"slice_key": SLICE, **VALUES[kind]}).hex() == SLICE_OF_TFMA + OF_TFMA[kind]


def test_a_directory_with_other_files_is_refused(attribeam: Command, tmp_path: pathlib.Path) -> None:
    audits.table()[0].write(open_place(str(tmp_path / "out")))
    target = tmp_path / "tfma"
    for _ in range(2):  # over an earlier export
        code, said, _ = attribeam("export-tfma", tmp_path / "out", target)
        assert (code, "load_eval_result" in said) == (0, True)
    assert {path.name for path in target.iterdir()} == {*FILES.values(), "eval_config.json"}
    (target / "metrics-00000-of-00002.tfrecord").write_bytes(b"")
    code, _, errors = attribeam("export-tfma", tmp_path / "out", target)
    assert (code, "E_TFMA_DIRECTORY" in errors) == (2, True)
    code, _, errors = attribeam("export-tfma", tmp_path / "nothing", tmp_path / "other")
    assert (code, "E_AUDIT_MISSING" in errors) == (1, True)
