"""Jobs that explain a layer: token ids in, a column of the embedding's attributions out."""

import pathlib
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Built, attributions, launch, read
from rich.console import Console

from pipeline.facts import UNKNOWN
from pipeline.plan import Known
from pipeline.prepare import prepare
from pipeline.preview import preview
from transforms.attribution.explainer import Explainer
from transforms.errors import UsageError
from transforms.explaining import explained

TOKENS, WIDTH, VOCABULARY = 4, 64, 8
RELATIVE = 1e-5  # of |F|: float32 sums of 4 · 64 products, which lose √256 roundings of 2^-24, and as many in F


def text_classifier(path: pathlib.Path) -> Built:
    """ids → embedding → curved → 3 logits; its column has the name that the other datasets have for whole numbers."""
    import keras

    keras.utils.set_random_seed(7)
    ids = keras.Input((TOKENS,), dtype="int32", name="ids")
    vectors = keras.layers.Embedding(VOCABULARY + 1, WIDTH, name="embedding")(ids)
    curved = keras.layers.Dense(6, activation="tanh", name="curved")(keras.layers.Flatten()(vectors))
    model, file = keras.Model(ids, keras.layers.Dense(datasets.CLASSES)(curved)), path.with_suffix(".keras")
    model.save(file)
    kept = {"path": str(file), "layer": "embedding"}
    return Built(kept, {"ids": "counts"}, {"target": "label", "baseline": {"input": 0}})


@pytest.mark.parametrize("kind", ["parquet", "none"])
def test_a_job_on_token_ids_sums_over_the_embedding(job_of: Any, kind: str) -> None:
    job = job_of(text_classifier, kind, attribution={"steps": "auto"}, output={"reduce": {"embedding": [-1]}})
    table, rows = read(launch(job).root), datasets.rows()
    assert table.schema.field("attribution_embedding").type == pa.fixed_shape_tensor(pa.float32(), [TOKENS])
    assert [name for name in table.column_names if name.startswith("attribution_")] == ["attribution_embedding"]
    found = attributions(table, "embedding")
    direct = Explainer.load(job.model, job.attribution).explain(rows["counts"], rows["label"])
    whole = direct.attributions["embedding"].astype(np.float64)
    assert whole.shape == (datasets.ROWS, TOKENS, WIDTH) and np.abs(found).max() > 0.01
    np.testing.assert_allclose(found, whole.sum(axis=-1), rtol=0, atol=RELATIVE * np.abs(whole).sum(axis=-1).max())
    # complete, in the file alone: what is summed up is F(x) - F(x') but for the delta that is told
    change = table["output"].to_numpy() - table["baseline_output"].to_numpy()
    missed = found.sum(axis=1) - change - table["delta"].to_numpy()
    assert np.abs(missed).max() <= RELATIVE * np.abs(table["output"].to_numpy()).max()
    assert set(table["status"].to_pylist()) == {"ok"}


def with_ids(tmp_path: pathlib.Path, bad: dict[int, int]) -> pathlib.Path:
    """The usual rows, whose third token is another in some of them."""
    rows = datasets.rows()
    for row, value in bad.items():
        rows["counts"][row, 2] = value
    return datasets.write_parquet(tmp_path / "ids.parquet", rows)


def test_an_unknown_token_costs_its_row(job_of: Any, tmp_path: pathlib.Path) -> None:
    """The first row too, which the launcher tries."""
    parts: dict[str, Any] = {"limits": {"quarantined": 0.5}, "output": {"reduce": {"embedding": [-1]}}}
    source = with_ids(tmp_path, {0: VOCABULARY + 1, 9: 10**6})
    out = launch(job_of(text_classifier, source, **parts))
    (file,) = (pathlib.Path(out.root) / "_quarantine").glob("part-*.parquet")
    refused = pq.read_table(file).to_pylist()
    assert [(row["source_row"], row["code"]) for row in refused] == [(row, "E_MODEL_INPUT_VALUE") for row in (0, 9)]
    assert "[0,2] = 9 is not in [0, 9)" in refused[0]["message"] and "File" not in refused[0]["message"]
    table, whole = read(out.root), read(launch(job_of(text_classifier, out="whole", **parts)).root)
    others = [row for row in range(datasets.ROWS) if row not in (0, 9)]
    assert table["source_row"].to_pylist() == others
    found, expected = attributions(table, "embedding"), attributions(whole, "embedding")[others]
    np.testing.assert_allclose(found, expected, rtol=0, atol=RELATIVE * np.abs(expected).max())


def test_a_vocabulary_that_is_not_the_models_is_refused_at_launch(job_of: Any, tmp_path: pathlib.Path) -> None:
    job = job_of(text_classifier, with_ids(tmp_path, dict.fromkeys(range(datasets.ROWS), 50)))
    # the first row group of the file
    with pytest.raises(UsageError, match=r"E_MODEL_INPUT_VALUE: not one of the first 5 rows .* = 50 is not in"):
        launch(job)
    assert not pathlib.Path(job.output.path).exists()


def test_another_layer_is_another_run(job_of: Any) -> None:
    launch(job_of(text_classifier))
    with pytest.raises(UsageError, match=r"E_OUTPUT_OTHER_RUN: .*model\.layer"):
        launch(job_of(text_classifier, model={"layer": "curved"}))


def test_as_many_rows_are_read_as_their_layer_fits(job_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = job_of(text_classifier)
    explainer = Explainer.load(config.model, config.attribution)
    job = prepare(config, pathlib.Path(config.input.files[0]).parent, explainer, Known()).job
    assert explainer.explained_shapes(job.shapes) == {"embedding": (TOKENS, WIDTH)}
    # ids of 32 bits, their embeddings, and 6 units, where the affine part ends
    row_bytes = TOKENS * 4 + TOKENS * WIDTH * 4 + 6 * 4
    monkeypatch.setattr(explained, "CHUNK_BYTES", 9 * row_bytes)
    assert explained.chunk_rows(job.layout, explainer) == 9


def test_the_plan_and_its_refusals(job_of: Any) -> None:
    job = job_of(text_classifier, output={"reduce": {"embedding": [-1]}})
    console = Console(record=True, width=200)
    preview(job, pathlib.Path(job.input.files[0]).parent, console)
    text = " ".join(console.export_text().split())
    assert "embedding [4]" in text and f"held {UNKNOWN}" in text
    for reduce in ({"ids": [-1]}, {"embedding": [2]}):
        with pytest.raises(UsageError, match="E_REDUCE"):
            launch(job_of(text_classifier, output={"reduce": reduce}))
    with pytest.raises(UsageError, match=r"E_MODEL_NOT_DIFFERENTIABLE: .*model\.layer: embedding"):
        launch(job_of(text_classifier, model={"layer": None}))
    with pytest.raises(UsageError, match="E_BASELINE_INPUT"):
        launch(job_of(text_classifier, attribution={"baseline": {"column": "counts"}}))
