"""docs/recipes.md: every query runs as it stands there, and gives what numpy gives."""

import pathlib
import re
from typing import Any

import datasets
import duckdb
import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import parse_config
from pipeline.launch import run

RECIPES = (pathlib.Path(__file__).parent.parent / "docs/recipes.md").read_text(encoding="utf-8")
ROWS, SHAPE = 60, (28, 28, 1)


def block(language: str, containing: str) -> str:
    """The code block of a language that has a certain text in it."""
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", RECIPES, re.S) if containing in text]
    assert len(found) == 1, f"{len(found)} blocks of {language} with {containing!r}"
    return str(found[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Two runs over the same images, out/digits and out/other; one row is refused, for it has no label."""
    place, random = tmp_path_factory.mktemp("recipes"), np.random.default_rng(0)
    entry = keras.Input(SHAPE, name="image")
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(8, activation="relu")(keras.layers.Flatten()(entry))
    keras.Model(entry, keras.layers.Dense(3)(hidden)).save(place / "model.keras")
    pixels = pa.array(list(random.normal(size=(ROWS, 784)).astype(np.float32)), pa.list_(pa.float32()))
    labels = pa.array([None, *(row % 3 for row in range(1, ROWS))], pa.int64())
    pq.write_table(
        pa.table({"id": [f"r{row}" for row in range(ROWS)], "label": labels, "pixels": pixels}), place / "in"
    )
    for out, baseline in (("digits", "zeros"), ("other", {"constant": 1.0})):
        config = {
            "model": {"path": str(place / "model.keras")},
            "input": {
                "files": str(place / "in"),
                "format": "parquet",
                "id": "id",
                "label": "label",
                "features": {"image": {"column": "pixels", "shape": list(SHAPE)}},
            },
            "attribution": {"target": "label", "steps": 4, "baseline": baseline},
            "output": {"path": str(place / "out" / out), "shard_bytes": 80_000},
            "limits": {"quarantined": 0.5},
        }
        run(parse_config(config), place)
    return place


@pytest.fixture(autouse=True)
def at_home(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def table(folder: pathlib.Path) -> pa.Table:
    assert len(datasets.parts(folder / "out/digits")) > 1, "several files, as in a real run"
    return datasets.read(folder / "out/digits")


@pytest.fixture(scope="module")
def maps(table: pa.Table) -> np.ndarray:
    return datasets.attributions(table, "image").reshape(len(table), -1)


def test_trust_of_each_class(table: pa.Table) -> None:
    found = {row[0]: row for row in duckdb.sql(block("sql", "delta_p95")).fetchall()}
    labels, delta = table["label"].to_numpy(), table["relative_delta"].to_numpy()
    for label in range(3):
        assert found[label][1] == (labels == label).sum()
        # duckdb interpolates in float32
        assert found[label][3] == pytest.approx(np.quantile(delta[labels == label], 0.95), rel=1e-6)


def test_confusions(table: pa.Table) -> None:
    labels, predicted = table["label"].to_numpy(), table["predicted"].to_numpy()
    found = {(label, other): rows for label, other, rows in duckdb.sql(block("sql", "label <> predicted")).fetchall()}
    wanted = {(a, b): int(((labels == a) & (predicted == b)).sum()) for a in range(3) for b in range(3) if a != b}
    assert found == {pair: rows for pair, rows in wanted.items() if rows} != {}


def test_features_of_each_class(table: pa.Table, maps: np.ndarray) -> None:
    found = duckdb.sql(block("sql", "QUALIFY")).fetchall()
    labels = table["label"].to_numpy()
    assert len(found) == 30
    for label, position, mean_abs, mean in found:
        own = maps[labels == label]
        assert mean_abs == pytest.approx(np.abs(own).mean(axis=0)[position], rel=1e-12)
        assert mean == pytest.approx(own.mean(axis=0)[position], rel=1e-9, abs=1e-12)
    best = np.abs(maps[labels == 1]).mean(axis=0).argsort()[::-1][:10]
    assert [position for label, position, *_ in found if label == 1] == best.tolist()


def test_two_runs(folder: pathlib.Path, table: pa.Table, maps: np.ndarray) -> None:
    found = duckdb.sql(block("sql", "list_cosine_similarity")).fetchall()
    other = datasets.attributions(datasets.read(folder / "out/other"), "image").reshape(len(table), -1)
    cosine = (maps * other).sum(axis=1) / np.linalg.norm(maps, axis=1) / np.linalg.norm(other, axis=1)
    by_id = dict(zip(table["row_id"].to_pylist(), cosine, strict=True))
    assert len(found) == 20
    for row_id, _, _, value in found:
        # of 784 products in float32, each rounded once, and their sum
        assert value == pytest.approx(by_id[row_id], abs=784 * 2**-24)


def test_refusals() -> None:
    ((code, rows, example),) = duckdb.sql(block("sql", "_quarantine")).fetchall()
    assert (code, rows) == ("E_LABEL_MISSING", 1) and "label" in example


def scope_of(containing: str) -> dict[str, Any]:
    scope: dict[str, Any] = {}
    exec(block("python", containing), scope)
    return scope


def test_maps_of_errors(table: pa.Table, maps: np.ndarray) -> None:
    found = scope_of("pandas")["difference"]
    labels, right = table["label"].to_numpy(), table["label"].to_numpy() == table["predicted"].to_numpy()
    assert found
    for label, difference in found.items():
        own = labels == label
        wanted = maps[own & ~right].mean(axis=0) - maps[own & right].mean(axis=0)
        # means of float32 values, in float32
        np.testing.assert_allclose(difference, wanted, atol=ROWS * 2**-24 * np.abs(maps).max())


def test_atypical_rows(table: pa.Table, maps: np.ndarray) -> None:
    found = scope_of("polars")["atypical"]
    labels = table["label"].to_numpy()
    mean = np.stack([maps[labels == label].mean(axis=0) for label in labels])
    cosine = (maps * mean).sum(axis=1) / np.linalg.norm(maps, axis=1) / np.linalg.norm(mean, axis=1)
    wanted = np.array(table["row_id"].to_pylist())[np.argsort(cosine)[:20]]
    assert found["row_id"].to_list() == wanted.tolist()
    np.testing.assert_allclose(found["cosine"].to_numpy(), np.sort(cosine)[:20], rtol=1e-9)


def test_a_mean_batch_by_batch(maps: np.ndarray) -> None:
    found = scope_of("pyarrow.dataset")["importance"]
    assert found.shape == SHAPE
    np.testing.assert_allclose(found.reshape(-1), np.abs(maps).mean(axis=0), rtol=1e-12)


def test_completeness(table: pa.Table, maps: np.ndarray) -> None:
    missed = scope_of("missed")["missed"]
    ends = np.abs(table["output"].to_numpy()) + np.abs(table["baseline_output"].to_numpy())
    assert len(missed) == ROWS - 1
    # delta and both outputs are written in float32
    assert (np.abs(missed) <= 2**-23 * (ends + np.abs(table["delta"].to_numpy()))).all()
    assert (table["delta"].to_numpy() != 0).any()


def test_every_block_is_tested() -> None:
    """That of words is in tests/examples/test_text.py."""
    assert len(re.findall(r"```(?:sql|python)\n", RECIPES)) == 10
