"""`attribeam compare` over whole runs: what it says beside numpy and scipy, and of models that are known to differ."""

from __future__ import annotations

import functools
import json
import pathlib
from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Built, Command, launch, read
from scipy import stats

from pipeline import compare as comparing
from pipeline.compare import Comparison, compare_runs
from transforms.comparing import units as planning
from transforms.comparing.tables import COUNTS
from transforms.errors import AttribeamError, UsageError
from transforms.runs.verify import verify_run
from transforms.storage.place import open_place

ROWS, VALUES, CLASSES = 240, 6, 3
NAMED = {"id": "name", "label": "label", "keep": ["split"]}
GROUPS = {"output": {"groups": {"<script>told</script>": [0, 1], "noise": [2, 3, 4, 5]}}}
SMALL = {"steps": 8, "batch_size": 64}


def columns(rows: int = ROWS, seed: int = 5) -> dict[str, Any]:
    """Rows of which the first two values tell the label, and the others tell nothing."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, VALUES)).astype(np.float32)
    return {
        "pixels": values,
        "label": (values[:, 0] > 0).astype(int) + (values[:, 1] > 0),
        "split": [["train", "test é"][row % 3 == 0] for row in range(rows)],
        "name": [f"row/{row} é" for row in range(rows)],
    }


def network(path: pathlib.Path, weights: list[np.ndarray]) -> Built:
    """A classifier with these weights."""
    model = untrained()
    model.set_weights(weights)
    return datasets._kept(model, path.with_suffix(".keras"))


def untrained() -> Any:
    import keras

    x = keras.Input((VALUES,), name="x")
    return keras.Model(x, keras.layers.Dense(CLASSES)(keras.layers.Dense(8, activation="tanh")(x)))


@functools.cache
def learnt(seed: int) -> list[np.ndarray]:
    """The weights that training on these rows ends with."""
    import keras

    keras.utils.set_random_seed(seed)
    model, known = untrained(), columns()
    model.compile(keras.optimizers.Adam(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(known["pixels"], known["label"], batch_size=ROWS, epochs=60, verbose=0)
    return [np.asarray(weights) for weights in model.get_weights()]


def trained(path: pathlib.Path) -> Built:
    return network(path, learnt(1))


def retrained(path: pathlib.Path) -> Built:
    return network(path, learnt(2))


def shuffled(path: pathlib.Path) -> Built:
    random = np.random.default_rng(1)
    return network(path, [random.permutation(weights.ravel()).reshape(weights.shape) for weights in learnt(1)])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return datasets.write_parquet(tmp_path_factory.mktemp("rows") / "rows é.parquet", columns(), group_rows=50)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, build: Any, files: pathlib.Path) -> Callable[..., str]:
    """`ran(out, model, path=…, **parts)`: the directory of a finished run, made once for each `out`."""
    folder, done = tmp_path_factory.mktemp("runs"), dict[str, str]()

    def finished(out: str, make: Any = trained, path: Any = None, **parts: Any) -> str:
        if out not in done:
            built = build(make)
            parts["attribution"] = built.attribution | SMALL | parts.get("attribution", {})
            job = datasets.job(folder / out, built.model, path or files, built.features, input=NAMED, **parts)
            done[out] = launch(job).root
        return done[out]

    return finished


def rows_of(found: Comparison) -> pa.Table:
    """Every pair, by id and target."""
    tables = [pq.read_table(path) for path in sorted(pathlib.Path(found.where).glob("rows/*.parquet"))]
    return pa.concat_tables(tables).sort_by([("row_id", "ascending"), ("target", "ascending")])


def by_name(root: str) -> pa.Table:
    return read(root).sort_by([("row_id", "ascending"), ("target", "ascending")])


def test_a_run_beside_itself_has_not_drifted(ran: Any, attribeam: Command, tmp_path: pathlib.Path) -> None:
    root = ran("one")
    code, said, errors = attribeam("compare", root, root, "--max-drift", "0")
    assert (code, errors) == (0, "")
    assert "drift 0 (95% 0 … 0)" in said and "they differ in nothing" in said and "0 of " in said
    folder = pathlib.Path(root) / "_compare"
    (where,) = folder.iterdir()
    summary = json.loads((where / "compare.json").read_text())
    assert where.name == summary["runs"]["a"]["fingerprint"][:12]
    assert summary["rows"] == dict.fromkeys(COUNTS, 0) | {"pairs": ROWS, "measured": ROWS}
    assert summary["measures"]["spearman"]["p05"] == summary["measures"]["cosine"]["p05"] == 1
    assert summary["measures"]["relative_l1"]["p95"] == summary["measures"]["drift"]["p95"] == 0
    features = pq.read_table(where / "features.parquet")
    assert set(features["p"].to_pylist()) == {1.0} and not any(features["drifted"].to_pylist())
    assert verify_run(open_place(root), deep=True) == []
    listed = sorted(str(path.relative_to(where)) for path in where.rglob("*") if path.is_file())
    rows = [f"rows/part-{number:05d}.parquet" for number in range(len(listed) - 4)]
    assert listed == ["compare.json", "features.parquet", "moved.parquet", *rows, "slices.parquet"] and rows


def test_a_retrained_model_has_drifted_and_one_with_shuffled_weights_far_more(ran: Any, attribeam: Command) -> None:
    one, again, mixed = ran("one"), ran("again", retrained), ran("mixed", shuffled)
    near, far = compare_runs(one, again), compare_runs(one, mixed)
    # the retrained model has learnt the same two values: most of each map is where it was
    assert 0.02 < near.drift < 0.4 < far.drift
    assert near.summary["features"]["drifted"] > 0
    moved = far.tables["features.parquet"].filter(far.tables["features.parquet"]["drifted"]).to_pylist()
    # shuffled, the values that told the label lose what those that told nothing win
    gains = {row["position"]: row["difference"] for row in moved if row["slice"] == "all"}
    assert min(gains, key=lambda at: gains[at]) in (0, 1) and max(gains.values()) > 0
    assert any(key.startswith("model") for key in far.summary["differences"])
    code, _, errors = attribeam("compare", one, mixed, "--max-drift", "0.3")
    assert (code, "is over --max-drift 0.3" in errors) == (1, True)
    assert attribeam("compare", one, again, "--max-drift", "0.4")[0] == 0


def test_every_number_beside_numpy_and_scipy(ran: Any) -> None:
    # shards of both runs, cut at other rows
    a = ran("half", output={"shard_bytes": 6 * 1000, "dtype": "float16"})
    b = ran("other baseline", retrained, attribution={"baseline": {"constant": 0.5}}, output={"shard_bytes": 6 * 300})
    assert len(datasets.parts(a)) != len(datasets.parts(b))
    found = compare_runs(a, b)
    tables, rows = (by_name(a), by_name(b)), rows_of(found)
    maps = [datasets.attributions(table) for table in tables]
    scaled = [values / np.abs(values).sum(axis=1, keepdims=True) for values in maps]
    wanted = {
        "spearman": [stats.spearmanr(*pair).statistic for pair in zip(*maps, strict=True)],
        "cosine": [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(*maps, strict=True)],
        "relative_l1": np.abs(maps[1] - maps[0]).sum(axis=1) / np.abs(maps[0]).sum(axis=1),
        "drift": np.abs(scaled[1] - scaled[0]).sum(axis=1) / 2,
    }
    assert rows["row_id"].equals(tables[0]["row_id"])
    for name, values in wanted.items():
        # sums of six float64 in another order
        np.testing.assert_allclose(rows[name].to_numpy(), values, rtol=1e-12, atol=1e-14, err_msg=name)
    for side, table in zip("ab", tables, strict=True):
        for name in ("output", "predicted"):
            assert rows[f"{name}_{side}"].equals(table[name])
        assert rows[f"status_{side}"].to_pylist() == table["status"].to_pylist()
    assert found.drift == pytest.approx(np.mean(wanted["drift"]), rel=1e-12)
    check_slices(found, tables, np.abs(scaled[0]), np.abs(scaled[1]), wanted["drift"])
    predicted = [np.array(table["predicted"].to_pylist()) for table in tables]
    changed = int((predicted[0] != predicted[1]).sum())
    assert found.summary["predicted"] == {"rows": ROWS, "changed": changed} and 0 < changed < ROWS
    moved = found.tables["moved.parquet"]
    assert moved["drift"].to_pylist() == sorted(rows["drift"].to_pylist(), reverse=True)[:100]


def check_slices(found: Comparison, tables: Any, shares_a: Any, shares_b: Any, drift: Any) -> None:
    label, split = (np.array(tables[0][name].to_pylist()) for name in ("label", "split"))
    members = {("all", ""): np.ones(ROWS, bool)}
    members |= {("label", str(value)): label == value for value in range(CLASSES)}
    members |= {("keep:split", value): split == value for value in ("train", "test é")}
    slices = {(row["slice"], row["value"]): row for row in found.tables["slices.parquet"].to_pylist()}
    features = found.tables["features.parquet"].to_pylist()
    assert set(slices) == set(members) and len(features) == VALUES * len(members)
    p_values = []
    for row in features:
        here, at = members[row["slice"], row["value"]], row["position"]
        assert (row["input"], row["name"], row["rows"]) == ("x", None, here.sum())
        x, y = shares_a[here, at], shares_b[here, at]
        np.testing.assert_allclose([row["share_a"], row["share_b"]], [x.mean(), y.mean()], rtol=1e-12)
        test = stats.ttest_rel(y, x)
        between = test.confidence_interval(0.95)
        assert row["difference"] == pytest.approx((y - x).mean(), abs=1e-14)
        # the normal deviate of t, 30 rows at least: tests/transforms/comparing/test_significance.py
        np.testing.assert_allclose([row["low"], row["high"]], between, atol=1e-3 * stats.sem(y - x))
        if abs(test.statistic) < 10:
            assert row["p"] == pytest.approx(test.pvalue, rel=0.05)
        p_values.append(row["p"])
    adjusted = np.array([row["p_adjusted"] for row in features])
    order = np.argsort(p_values)
    steps = np.maximum.accumulate(np.array(p_values)[order] * np.arange(len(p_values), 0, -1))
    np.testing.assert_allclose(adjusted[order], np.minimum(steps, 1))
    for row in features:
        enough = abs(row["difference"]) > 0.02 * max(row["share_a"], row["share_b"])
        assert row["drifted"] == (row["p_adjusted"] <= 0.05 and enough)
    for name, here in members.items():
        assert (slices[name]["rows"], slices[name]["measured"]) == (here.sum(), here.sum())
        assert slices[name]["drift"] == pytest.approx(drift[here].mean(), rel=1e-12)
        output = tables[1]["output"].to_numpy()[here].astype(float)
        assert slices[name]["output_b"] == pytest.approx(output.mean(), rel=1e-12, abs=1e-12)


def test_rows_of_other_files_are_found_by_their_ids(
    ran: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = columns()
    order = np.random.default_rng(1).permutation(ROWS)[:200]
    mixed = {name: np.array(values)[order] for name, values in whole.items()} | {
        name: [whole[name][row] for row in order] for name in ("split", "name")
    }
    mixed["name"][:5] = [f"new/{row}" for row in range(5)]
    cut = [{name: values[part] for name, values in mixed.items()} for part in (slice(0, 70), slice(70, 200))]
    paths = [datasets.write_parquet(tmp_path / "other" / f"{n}.parquet", one, 30) for n, one in enumerate(cut)]
    a, b = ran("one"), ran("other files", path=paths)
    # several buckets, and pieces of them: a row is about 100 bytes
    plan, made = planning.units, list[planning.Unit]()
    monkeypatch.setattr(comparing, "units", lambda a, b, size: made.extend(plan(a, b, size, 8000)) or made)
    found = compare_runs(a, b)
    assert len(made) > 2 and {unit.rows for unit in made} == {None}
    counts = dict.fromkeys(COUNTS, 0) | {"pairs": 195, "measured": 195, "only_a": 45, "only_b": 5}
    assert found.summary["rows"] == counts
    assert sorted(rows_of(found)["row_id"].to_pylist()) == sorted(whole["name"][row] for row in order[5:])
    # the same model over the same values, in batches of other rows: nothing but roundings of float32
    assert found.drift < 1e-6 and found.summary["features"]["drifted"] == 0


def test_a_shared_file_in_units_of_any_size(ran: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = ran("one"), ran("again", retrained)
    whole = compare_runs(a, b)
    plan = planning.units
    monkeypatch.setattr(comparing, "units", lambda a, b, size: plan(a, b, size, 3000))
    cut = compare_runs(a, b)
    assert len(list(pathlib.Path(cut.where).glob("rows/*"))) > 5
    assert rows_of(cut).equals(rows_of(whole))
    for name in ("slices.parquet", "features.parquet"):
        for column in whole.tables[name].column_names:
            one, other = (found.tables[name][column].to_pylist() for found in (whole, cut))
            # means and spreads of at most 240 rows, merged in another order
            assert one == (pytest.approx(other, rel=1e-9, abs=1e-13) if isinstance(one[0], float) else other), column


def test_several_targets_and_those_that_changed(ran: Any) -> None:
    top = {"target": {"top_k": 2}}
    a, b = ran("top_k", attribution=top), ran("top_k again", retrained, attribution=top)
    found = compare_runs(a, b)
    pairs = [{(row["row_id"], row["target"]) for row in read(root).to_pylist()} for root in (a, b)]
    rows = rows_of(found)
    assert set(zip(rows["row_id"].to_pylist(), rows["target"].to_pylist(), strict=True)) == pairs[0] & pairs[1]
    assert found.summary["rows"]["other_target"] == len(pairs[0] - pairs[1]) > 0
    assert (found.summary["rows"]["only_a"], found.summary["rows"]["only_b"]) == (0, 0)


def test_the_strongest_values_beside_all_of_them(ran: Any) -> None:
    whole = ran("one")
    few = compare_runs(whole, ran("few", output={"top": 2}))
    maps = np.abs(datasets.attributions(by_name(whole)))
    kept = np.sort(maps, axis=1)[:, -2:].sum(axis=1) / maps.sum(axis=1)
    # what is kept grows to 1, what is left out goes to 0: either half of the distance is 1 − kept
    np.testing.assert_allclose(rows_of(few)["drift"].to_numpy(), 1 - kept, atol=1e-12)
    assert any("output.top" in line for line in few.summary["limits"])


def test_groups_keep_their_names(ran: Any) -> None:
    a, b = ran("grouped", **GROUPS), ran("grouped again", shuffled, **GROUPS)
    table = compare_runs(a, b).tables["features.parquet"]
    assert table["name"].to_pylist()[:2] == ["<script>told</script>", "noise"]
    with pytest.raises(UsageError, match=r"E_COMPARE_COLUMNS: the maps of 'x' are 2 in groups .*, 6 in the other"):
        compare_runs(a, ran("one"))


def test_what_cannot_be_compared(ran: Any, tmp_path: pathlib.Path) -> None:
    a = ran("one")
    other = datasets.write_parquet(tmp_path / "o" / "o.parquet", columns() | {"name": [f"o{n}" for n in range(ROWS)]})
    with pytest.raises(UsageError, match=r"E_COMPARE_ROWS.* 240 ids are in the first only, 240 in the second only"):
        compare_runs(a, ran("other ids", path=other))
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    with pytest.raises(AttribeamError, match="E_RUN_UNFINISHED"):
        compare_runs(a, str(unfinished))


def test_another_folder_again_and_the_page(ran: Any, attribeam: Command, tmp_path: pathlib.Path) -> None:
    a, b = ran("grouped", **GROUPS), ran("grouped again", shuffled, **GROUPS)
    before = sorted(pathlib.Path(b).rglob("*"))
    page, out = tmp_path / "compare.html", tmp_path / "elsewhere"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    for _ in range(2):
        code, _, errors = attribeam("compare", a, b, "--out", out, "--html", page, "--", "--direct_num_workers=1")
        assert (code, errors) == (0, "")
    assert (out / "compare.json").exists() and (out / "mine.txt").read_text() == "kept"
    assert sorted(pathlib.Path(b).rglob("*")) == before
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text and "&lt;script&gt;told" in text
    assert "http" not in text.replace("http-equiv", "")
