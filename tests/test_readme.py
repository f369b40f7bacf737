"""What the README tells people to type: its configuration, queries and notebook lines, run as they stand there."""

import pathlib
import re
from collections.abc import Callable
from typing import Any

import apache_beam as beam
import collected
import datasets
import duckdb
import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline.config import load_config, parse_config
from pipeline.launch import run

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROWS = 12


def block(language: str, containing: str) -> str:
    """The code block of a language that has a certain text in it."""
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.S) if containing in text]
    assert len(found) == 1, f"{len(found)} blocks of {language} with {containing!r}"
    return str(found[0])


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (ROWS, 28, 28, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, images: np.ndarray) -> pathlib.Path:
    """The files that the README's configuration names, and its run."""
    place = tmp_path_factory.mktemp("readme")
    (place / "models").mkdir()
    (place / "data").mkdir()
    entry = keras.Input((28, 28, 1), name="image")
    keras.Model(entry, keras.layers.Dense(10)(keras.layers.Flatten()(entry))).save(place / "models/digits.keras")
    rows = {"id": [f"r{row}" for row in range(ROWS)], "label": np.arange(ROWS) % 10, "split": ["test"] * ROWS}
    pixels = pa.array(list(images.reshape(ROWS, -1)), pa.list_(pa.float32()))
    pq.write_table(pa.table({**rows, "pixels": pixels}), place / "data/digits-0.parquet")
    (place / "digits.yaml").write_text(block("yaml", "signature"), encoding="utf-8")
    run(load_config(place / "digits.yaml"), place)
    return place


def test_the_configuration_shows_every_key_and_its_default() -> None:
    text = block("yaml", "signature")
    everything = re.sub(r"^(\s*)# (\w+: )", r"\1\2", text, flags=re.M)
    values = yaml.safe_load(everything)
    shown = parse_config(values).model_dump(mode="json")
    for group in ("model", "input", "attribution", "output", "limits"):
        hidden = {"seed"} if group == "attribution" else set()
        assert set(shown[group]) - hidden <= set(values[group]) | {"format"}, group


def test_the_duckdb_query(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    query = block("sql", "row_id")
    assert duckdb.sql(query).columns == [
        "row_id",
        "label",
        "target",
        "relative_delta",
        "error_estimate",
        "steps",
        "status",
    ]
    everything = duckdb.sql(query.replace("WHERE status <> 'ok'", "")).fetchall()
    assert len(everything) == ROWS


def test_the_pandas_query(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    scope: dict[str, object] = {}
    exec(block("python", "pandas"), scope)
    maps = scope["maps"]
    assert list(maps.index) == list(range(10))  # type: ignore[attr-defined]
    assert maps[0].shape == (28 * 28,)  # type: ignore[index]


def test_the_notebook_lines(folder: pathlib.Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    scope: dict[str, object] = {"images": images / np.float32(255), "labels": np.arange(ROWS) % 10}
    exec(block("python", "Explainer.load"), scope)
    explained = scope["explanation"]
    written = pq.read_table(sorted((folder / "out/digits").glob("part-*"))[0])
    stored = written["attribution_image"].combine_chunks().to_numpy_ndarray()
    assert explained.attributions["image"].shape == stored.shape  # type: ignore[attr-defined]
    # scaled in another order: pixels / 255 against pixels · (1/255) differ by a rounding of the input, 2^-24
    np.testing.assert_allclose(explained.attributions["image"], stored, rtol=1e-6, atol=1e-7)  # type: ignore[attr-defined]


def in_process(fill: Callable[[beam.Pipeline], dict[str, Any]], containing: str) -> dict[str, Any]:
    """The names that a block leaves, once the pipeline that it adds to has run."""
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        scope = {"beam": beam, **fill(pipeline)}
        exec(block("python", containing), scope)
        for name in {"maps", "attributed", "quarantined"} & set(scope):
            _ = scope[name] | f"Keep {name}" >> beam.Map(collected.keep, name)
    return collected.kept


def test_the_lines_for_run_inference(folder: pathlib.Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    collected.kept.clear()
    scaled = images / np.float32(255)
    rows = [{"id": f"r{row}", "image": scaled[row], "label": row % 10} for row in range(ROWS)]
    maps = dict(in_process(lambda pipeline: {"rows": pipeline | beam.Create(rows)}, "RunInference")["maps"])
    stored = datasets.read(folder / "out/digits")
    for name, expected in zip(stored["row_id"].to_pylist(), datasets.attributions(stored, "image"), strict=True):
        # as above; and `steps: auto` ends at the same level whatever batch a row is in
        np.testing.assert_allclose(maps[name], expected, rtol=1e-6, atol=1e-7)


def test_the_lines_for_record_batches(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    collected.kept.clear()
    found = in_process(lambda pipeline: {"pipeline": pipeline}, "AttributeExamples")
    assert "quarantined" not in found
    attributed, stored = pa.Table.from_batches(found["attributed"]), datasets.read(folder / "out/digits")
    assert attributed.schema.equals(stored.schema)
    same = ["row_id", "label", "split", "target", "steps", "status", "source_row"]
    assert attributed.select(same).equals(stored.select(same))


def test_every_file_it_links_to_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
