"""`attribeam evaluate` over whole runs: what it writes, which rows it draws, and what it says of known maps."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import launch

from pipeline import comparison
from pipeline.evaluation import Evaluated, Request, evaluate
from transforms.attribution.faithfulness.metrics import METRICS
from transforms.errors import AttribeamError, UsageError
from transforms.runs.verify import verify_run
from transforms.storage.place import open_place

ROWS = 8
QUICK = ("insertion", "gini")
IMAGES = {"steps": 8, "batch_size": 16}


def trapezoids(curves: np.ndarray, dx: float) -> np.ndarray:
    """The area under each row: numpy 1 and 2 have it under two names."""
    return dx * (curves.sum(axis=1) - (curves[:, 0] + curves[:, -1]) / 2)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A few images as flat lists, with labels and ids."""
    random = np.random.default_rng(1)
    columns = {
        "pixels": random.uniform(size=(ROWS, 44 * 44)).astype(np.float32),
        "label": random.integers(0, datasets.CLASSES, ROWS),
        "name": [f"picture/{row} é" for row in range(ROWS)],
    }
    return datasets.write_parquet(tmp_path_factory.mktemp("pictures") / "pictures.parquet", columns, group_rows=3)


@pytest.fixture
def pictured(job_of: Any, pictures: pathlib.Path) -> Callable[..., str]:
    """`pictured(out, **attribution)`: a finished run of the image model; its directory."""

    def ran(out: str, shard_bytes: int = 2**20, **attribution: Any) -> str:
        parts = {"input": {"id": "name"}, "output": {"shard_bytes": shard_bytes}}
        return launch(job_of(datasets.images, pictures, out=out, attribution=IMAGES | attribution, **parts)).root

    return ran


def scores(evaluated: Evaluated, name: str) -> np.ndarray:
    return np.array(evaluated.rows[name].to_pylist(), float)


def test_every_metric_of_two_methods_side_by_side(pictured: Callable[..., str]) -> None:
    roots = [pictured("ig"), pictured("saliency", method="saliency")]
    first, second = evaluate(roots, Request(rows=5, seed=3))
    assert first.rows["row_id"].to_pylist() == second.rows["row_id"].to_pylist()
    assert len(set(first.rows["row_id"].to_pylist())) == 5
    for one in (first, second):
        assert set(one.summary["metrics"]) == set(METRICS)
        for name, found in one.summary["metrics"].items():
            values = scores(one, name)
            assert (found["n"], found["undefined"], found["reason"]) == (5, 0, None), name
            assert found["mean"] == pytest.approx(values.mean(), rel=1e-12)
            assert values.min() <= found["low"] <= found["mean"] <= found["high"] <= values.max()
    found = comparison.compare([first, second])
    for name, difference in found["runs"][1]["differences"].items():
        assert difference["mean"] == pytest.approx((scores(second, name) - scores(first, name)).mean(), rel=1e-9)
    assert all(difference["mean"] == 0 for difference in found["runs"][0]["differences"].values())
    assert [verify_run(open_place(root), deep=True) for root in roots] == [[], []]


def test_the_sample_and_its_values_do_not_depend_on_shards(pictured: Callable[..., str]) -> None:
    whole, cut = pictured("whole"), pictured("cut", shard_bytes=3 * 44 * 44 * 4)
    assert len(datasets.parts(cut)) > len(datasets.parts(whole)) == 1
    one, other = (evaluate([root], Request(rows=4, seed=1))[0] for root in (whole, cut))
    assert one.rows["row_id"].to_pylist() == other.rows["row_id"].to_pylist()
    for name in METRICS:
        # the same calls of the same model; only randomisation and sensitivity explain, in batches of a row
        np.testing.assert_allclose(scores(one, name), scores(other, name), rtol=1e-4, err_msg=name)


def test_another_seed_draws_other_rows_and_a_larger_sample_holds_the_smaller(job_of: Any) -> None:
    root = launch(job_of(datasets.keras_classifier, input={"id": "name"})).root
    names = [
        evaluate([root], Request(rows, seed, metrics=("gini",)))[0].rows["row_id"].to_pylist()
        for rows, seed in ((5, 0), (9, 0), (5, 1), (999, 0))
    ]
    assert names[1][:5] == names[0] != names[2]
    assert sorted(names[3]) == sorted(datasets.rows()["name"])


def test_the_same_again_is_read_and_not_computed(job_of: Any) -> None:
    root = launch(job_of(datasets.keras_classifier)).root
    (first,), (again,) = (evaluate([root], Request(3, metrics=QUICK)) for _ in range(2))
    assert (first.computed, again.computed) == (True, False)
    assert again.summary == first.summary and again.rows.equals(first.rows)
    folder = pathlib.Path(root, "_evaluation")
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".parquet"]
    evaluate([root], Request(3, seed=1, metrics=QUICK))
    assert len(list(folder.iterdir())) == 4


def test_an_evaluation_that_was_cut_off_goes_on_with_its_rows(job_of: Any) -> None:
    root = launch(job_of(datasets.keras_classifier)).root
    (first,) = evaluate([root], Request(3, metrics=QUICK))
    pathlib.Path(root, f"{first.stem}.json").unlink()
    (again,) = evaluate([root], Request(3, metrics=QUICK))
    assert again.computed and again.summary == first.summary


def test_a_linear_model_is_explained_without_fault(job_of: Any) -> None:
    root = launch(job_of(datasets.linear)).root
    (found,) = evaluate([root], Request(23))
    pixels = {f"{datasets.STEM}.parquet#{row}": value for row, value in enumerate(datasets.rows()["pixels"])}
    rows = np.stack([pixels[name] for name in found.rows["row_id"].to_pylist()]).astype(np.float64)
    contributions = -np.sort(-rows * datasets.LINEAR, axis=1)
    sums = np.concatenate([np.zeros((23, 1)), contributions.cumsum(axis=1)], axis=1)
    scale = np.abs(contributions).sum(axis=1).max()
    # F and its sums in float32, a handful of roundings of 2^-24 each of what is summed
    close = 16 * 2**-24 * scale
    np.testing.assert_allclose(scores(found, "insertion"), trapezoids(sums, dx=0.25), atol=close)
    reverse = sums[:, -1:] - sums
    np.testing.assert_allclose(scores(found, "deletion"), trapezoids(reverse, dx=0.25), atol=close)
    assert scores(found, "infidelity").max() < close**2
    assert found.summary["metrics"]["atv"] | {"better": ""} == {
        "mean": None, "low": None, "high": None, "n": 0, "better": "", "undefined": 23,
        "reason": "the maps are not those of one image a row",
    }  # fmt: skip
    # x changes by δ: so does the map, x ⊙ w, by δ ⊙ w
    bound = 0.02 * np.linalg.norm(datasets.LINEAR) / np.linalg.norm(rows * datasets.LINEAR, axis=1)
    assert (scores(found, "sensitivity_max") <= bound * (1 + 1e-4)).all() and (
        scores(found, "sensitivity_max") > 0
    ).all()


def test_several_inputs_held_targets_and_top_k(job_of: Any) -> None:
    root = launch(job_of(datasets.keras_multi_input, attribution={"target": {"top_k": 2}, "steps": "auto"})).root
    (found,) = evaluate([root], Request(6))
    assert found.rows.num_rows == 6
    explained = datasets.read(root).to_pylist()
    firsts = {row["row_id"]: row["target"] for row in explained if row["target_rank"] == 0}
    assert (
        dict(zip(*(found.rows[name].to_pylist() for name in ("row_id", "target")), strict=True)).items()
        <= firsts.items()
    )
    for name in ("insertion", "infidelity", "sensitivity_max", "gini", "randomisation"):
        assert found.summary["metrics"][name]["n"] == 6, name


@pytest.mark.parametrize("make", [datasets.int_input, datasets.fixed_batch, datasets.int_saved_model])
def test_models_of_other_kinds(job_of: Any, make: Any) -> None:
    (found,) = evaluate([launch(job_of(make)).root], Request(3))
    for name in ("insertion", "infidelity", "sensitivity_max", "randomisation"):
        assert found.summary["metrics"][name]["n"] == 3, name


@pytest.mark.parametrize("kind", ["none", "gzip"])
def test_tfrecord_gives_what_parquet_gives(job_of: Any, kind: str) -> None:
    # to the last bit: of a given size of calls, not of one that is found while the first run computes
    given = {"batch_size": 16}
    one, other = (
        evaluate(
            [launch(job_of(datasets.keras_classifier, form, out=form, input={"id": "name"}, attribution=given)).root],
            Request(4, metrics=QUICK),
        )[0]
        for form in ("parquet", kind)
    )
    assert one.rows.drop(["source_file"]).equals(other.rows.drop(["source_file"]))


def test_noise_and_drawn_baselines(job_of: Any) -> None:
    noisy = job_of(
        datasets.keras_classifier,
        attribution={
            "noise": {"kind": "vargrad", "draws": 3, "sigma": 0.1},
            "baseline": {"uniform": [0, 1], "draws": 2},
        },
    )
    (found,) = evaluate([launch(noisy).root], Request(3))
    assert found.summary["metrics"]["infidelity"]["reason"] == "a map of vargrad is not in units of F"
    assert found.summary["metrics"]["insertion"]["n"] == found.summary["metrics"]["sensitivity_max"]["n"] == 3
    taylor = job_of(
        datasets.keras_classifier, out="t", attribution={"method": "smooth_taylor", "baseline": {"gaussian": 0.1}}
    )
    (found,) = evaluate([launch(taylor).root], Request(3, metrics=QUICK))
    assert "takes nothing away" in found.summary["metrics"]["insertion"]["reason"]
    assert found.summary["metrics"]["gini"]["n"] == 3


def test_runs_are_compared_over_the_rows_that_all_have(job_of: Any, tmp_path: pathlib.Path) -> None:
    rows = datasets.rows() | {"start": datasets.rows()["pixels"].copy() * 0 + 0.1}
    rows["start"][3:9] = np.nan
    path = datasets.write_parquet(tmp_path / "rows.parquet", rows)
    zeros = launch(job_of(datasets.keras_classifier, path, out="zeros")).root
    column = {"attribution": {"baseline": {"column": "start"}}, "limits": {"quarantined": 0.5}}
    starts = launch(job_of(datasets.keras_classifier, path, out="starts", **column)).root
    first, second = evaluate([zeros, starts], Request(99, metrics=("insertion",)))
    assert first.rows["row_id"].to_pylist() == second.rows["row_id"].to_pylist()
    assert first.rows.num_rows == datasets.ROWS - 6
    alone, other = (
        evaluate([zeros], Request(99, metrics=QUICK)),
        evaluate([starts, zeros], Request(99, metrics=("insertion",))),
    )
    assert alone[0].rows.num_rows == datasets.ROWS
    assert [one.summary["metrics"]["insertion"]["reason"] for one in other] == [
        None, "the fill is a column that this run does not read",
    ]  # fmt: skip


def test_a_reduced_map_ranks_what_was_summed(job_of: Any) -> None:
    root = launch(job_of(datasets.pixel_grid, output={"reduce": {"x": ["channels"]}})).root
    (found,) = evaluate([root], Request(5, metrics=QUICK))
    whole = launch(job_of(datasets.pixel_grid, out="whole")).root
    (wanted,) = evaluate([whole], Request(5, metrics=QUICK))
    # pixels are ranked with their channels either way; written in float32, so that sums differ by its rounding
    np.testing.assert_allclose(scores(found, "insertion"), scores(wanted, "insertion"), rtol=1e-6)
    assert found.summary["metrics"]["gini"]["n"] == 5


def refusal(code: str, *roots: str, request: Request | None = None) -> str:
    with pytest.raises(AttribeamError) as caught:
        evaluate(list(roots), request or Request(3))
    assert caught.value.code == code
    return str(caught.value)


def test_what_cannot_be_evaluated(job_of: Any, tmp_path: pathlib.Path) -> None:
    job = job_of(datasets.keras_classifier)
    root = launch(job).root
    assert "gyni" in refusal("E_EVALUATE_METRIC", root, request=Request(3, metrics=("gyni",)))
    other = launch(job_of(datasets.keras_classifier, out="other", attribution={"target": 1})).root
    assert "attribution.target" in refusal("E_EVALUATE_RUNS", root, other)
    elsewhere = launch(job_of(datasets.saved_model, out="elsewhere")).root
    assert "model.digest" in refusal("E_EVALUATE_RUNS", root, elsewhere)
    layer = json.loads(pathlib.Path(other, "_run.json").read_text())
    layer["config"]["model"]["layer"] = "dense"
    pathlib.Path(other, "_run.json").write_text(json.dumps(layer))
    assert "the layer 'dense'" in refusal("E_EVALUATE_MAP", other)
    refusal("E_RUN_UNFINISHED", str(tmp_path / "nothing"))
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(UsageError, match="E_RUNNER"):
        evaluate([root], Request(2), ["--runner=NoSuchRunner"])


def test_a_model_or_an_input_that_has_changed_is_refused(job_of: Any, tmp_path: pathlib.Path) -> None:
    path = datasets.write_parquet(tmp_path / "rows.parquet", datasets.rows())
    root = launch(job_of(datasets.keras_classifier, path)).root
    whole = path.read_bytes()
    datasets.write_parquet(path, datasets.rows(seed=2))
    # shorter or longer, the launcher sees it; of the same size, the worker, by the footer
    with pytest.raises(AttribeamError, match=r"E_EVALUATE_(CHANGED|INPUT): "):
        evaluate([root], Request(3))
    path.write_bytes(whole)
    record = json.loads(pathlib.Path(root, "_run.json").read_text())
    record["decides"]["model.digest"] = "0" * 64
    pathlib.Path(root, "_run.json").write_text(json.dumps(record))
    assert "model.digest" in refusal("E_EVALUATE_CHANGED", root)


def test_a_moved_run_is_evaluated_where_it_is(job_of: Any, tmp_path: pathlib.Path) -> None:
    root = pathlib.Path(launch(job_of(datasets.keras_classifier)).root)
    moved = root.rename(tmp_path / "moved")
    (found,) = evaluate([str(moved)], Request(2, metrics=("gini",)))
    assert (moved / f"{found.stem}.parquet").exists() and not root.exists()
    stored = pq.read_table(moved / f"{found.stem}.parquet")
    assert stored.column_names == ["row_id", "source_file", "source_row", "target", "gini"]


@pytest.mark.parametrize(
    "attribution",
    [
        {"method": "blur_integrated_gradients"},
        {"method": "guided_integrated_gradients", "baseline": {"blur": 1.0}},
        {"method": "expected_gradients", "baseline": {"uniform": [0, 1], "draws": 4}},
    ],
)
def test_methods_on_other_paths(pictured: Callable[..., str], attribution: dict[str, Any]) -> None:
    (found,) = evaluate(
        [pictured("out", **attribution)], Request(2, metrics=("insertion", "sensitivity_max", "randomisation"))
    )
    assert [one["n"] for one in found.summary["metrics"].values()] == [2, 2, 2]
    kinds = {
        "blur_integrated_gradients": "blur",
        "guided_integrated_gradients": "blur",
        "expected_gradients": "uniform",
    }
    assert kinds[attribution["method"]] in found.summary["settings"]["fill"][""]


@pytest.mark.parametrize("baseline", ["max_entropy", "mean", {"samples": 2}])
def test_baselines_of_the_dataset_fill_too(job_of: Any, baseline: Any) -> None:
    """With `max_entropy` the curves conserve information: they end where the model is as unsure as it can be."""
    made = {"attribution": {"baseline": baseline}, "model": {"activation": "softmax"}}
    own = launch(job_of(datasets.keras_classifier, out="own", **made)).root
    zeros = launch(job_of(datasets.keras_classifier, out="zeros", model={"activation": "softmax"})).root
    first, second = evaluate([own, zeros], Request(3, metrics=("insertion", "sensitivity_max")))
    assert [one["n"] for found in (first, second) for one in found.summary["metrics"].values()] == [3, 3, 3, 3]
