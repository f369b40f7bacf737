"""examples/breast_cancer: real measurements of tumours, folded into ten groups."""

from __future__ import annotations

import html
import json
import pathlib
from collections.abc import Callable

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

GROUPS = 10
TOLERANCE = 0.02  # of config.yaml


@pytest.fixture(scope="module")
def out(example: Callable[..., pathlib.Path]) -> pathlib.Path:
    """As its user runs it, the audit with it."""
    return example("breast_cancer", audited=True) / "out"


@pytest.fixture(scope="module")
def rows(out: pathlib.Path) -> pa.Table:
    return datasets.read(out)


@pytest.fixture(scope="module")
def malignant(rows: pa.Table) -> np.ndarray:
    return np.array(rows["label"].to_pylist()) == "malignant"


@pytest.fixture(scope="module")
def held_out(rows: pa.Table) -> np.ndarray:
    return np.array(rows["split"].to_pylist()) == "held out"


def test_the_model_is_worth_explaining(rows: pa.Table, held_out: np.ndarray, malignant: np.ndarray) -> None:
    """Published classifiers of these data get about 97 % right; one below 90 % would not have learnt them."""
    right = (rows["output"].to_numpy() > 0) == malignant
    assert held_out.sum() > 100
    assert right[held_out].mean() > 0.9


def test_every_row_is_complete(rows: pa.Table) -> None:
    values = datasets.attributions(rows, "measurements")
    assert values.shape == (569, GROUPS)
    rise = rows["output"].to_numpy().astype(float) - rows["baseline_output"].to_numpy()
    ok = np.array(rows["status"].to_pylist()) == "ok"
    assert ok.mean() > 0.99
    # what float32 columns and sums of tens add to the tolerance
    assert (np.abs(values.sum(axis=1) - rise)[ok] <= TOLERANCE * np.abs(rise[ok]) + 1e-4).all()


def test_the_groups_are_those_of_the_data(rows: pa.Table) -> None:
    """scikit-learn names the columns `mean radius`, `radius error`, `worst radius`, and so on."""
    names = [name.removeprefix("mean ") for name in load_breast_cancer().feature_names[:GROUPS]]
    assert json.loads(rows.schema.field("attribution_measurements").metadata[b"attribeam.groups"]) == names


def test_the_strongest_groups_are_those_that_tell_the_tumours_apart_on_their_own(
    rows: pa.Table, held_out: np.ndarray, malignant: np.ndarray
) -> None:
    """Malignant nuclei are larger (radius, perimeter, area) and more indented (concavity, concave points).

    Which groups separate the classes is known without any model: of each group the best single column's area under the
    ROC curve. Five groups reach 0.93, the next one 0.86; they must be the strongest of the malignant tumours, and speak
    for malignancy, since their values are larger there.
    """
    telling = set(telling_groups())
    values = datasets.attributions(rows, "measurements")[held_out & malignant]
    assert set(np.argsort(-np.abs(values).mean(axis=0))[:5]) == telling
    assert (values[:, sorted(telling)].mean(axis=0) > 0).all()


def telling_groups() -> list[int]:
    """The five that separate the classes best, by what one of their columns does without any model."""
    data = load_breast_cancer()
    alone = np.array([roc_auc_score(data.target == 0, column) for column in data.data.T])
    best = np.maximum(alone, 1 - alone).reshape(3, GROUPS).max(axis=0)
    return [int(group) for group in np.argsort(-best)[:5]]


def test_the_audit_finds_no_leak_and_names_what_counts(out: pathlib.Path) -> None:
    """Of ten honest measurements none gives the diagnosis away, and none has a third of the attribution."""
    about = json.loads((out / "_audit/audit.json").read_text(encoding="utf-8"))
    kinds = {finding["kind"] for finding in about["findings"]}
    assert not kinds & {"label_leak", "dominant_feature", "source_differs", "nonfinite_rows"}
    features = pq.read_table(out / "_audit/features.parquet", filters=[("slice", "=", "label")]).to_pylist()
    means = {(row["value"], row["name"]): row["mean"] for row in features}
    names = [name.removeprefix("mean ") for name in load_breast_cancer().feature_names[:GROUPS]]
    assert len(means) == 2 * GROUPS
    for group in telling_groups():
        assert means["malignant", names[group]] > means["benign", names[group]]


def test_the_report_calls_groups_and_diagnoses_by_their_names(out: pathlib.Path) -> None:
    page = html.unescape((out / "_audit/report.html").read_text(encoding="utf-8"))
    assert "<bdi>fractal dimension</bdi>" in page and "<bdi>malignant</bdi>" in page
    assert "baseline <b><bdi>column typical</bdi></b>" in " ".join(page.split())
    assert "could not be read" not in page
