"""Whole runs with baselines of the dataset: computed once, pinned, the same whatever the shards, and on resume."""

from __future__ import annotations

import pathlib
import shutil
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import attributions, launch, parts, read

from pipeline import launch as launching
from pipeline import pinned_baselines
from transforms import dataset_baselines
from transforms.attribution.baselines.references import References, references_of_rows
from transforms.attribution.baselines.row_baselines import draw_rows
from transforms.attribution.batch import Batch
from transforms.attribution.explainer import Explainer
from transforms.errors import AttribeamError, UsageError
from transforms.runs.references_file import read_references
from transforms.runs.verify import verify_run
from transforms.storage.manifest import BASELINES, DRAFT, MANIFEST, RUN, read_json
from transforms.storage.place import open_place

SMALL = {"shard_bytes": 500}
GIVEN = {"batch_size": 16}
OF_DATASET = {"min": np.min, "max": np.max, "mean": np.mean, "median": np.median}


@pytest.fixture
def summarized(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of every shard that is read for baselines from here on."""
    numbers: list[int] = []
    real = dataset_baselines.read_examples

    def recorded(shard: Any, job: Any, batch_rows: int) -> Any:
        numbers.append(shard.number)
        return real(shard, job, batch_rows)

    monkeypatch.setattr(dataset_baselines, "read_examples", recorded)
    return numbers


def references(out: str) -> References:
    """What a run pinned."""
    place = open_place(out)
    return read_references(place, read_json(place, RUN)["files_sha256"][BASELINES])


def explained(job: Any, out: str, **given: Any) -> np.ndarray:
    """The attributions that a notebook gives, in the order of the rows, from what a run pinned."""
    rows = datasets.rows()
    explainer = Explainer.load(job.model, job.attribution, references=references(out))
    ids = [str(name) for name in rows["name"]]
    found = explainer.explain(rows["pixels"], target=rows["label"], row_ids=ids, **given)
    return found.attributions["x"].astype(np.float64)


def test_every_kind_that_rows_share_whatever_the_shards(job_of: Any) -> None:
    fields, rows = {"baseline": [*OF_DATASET, "max_entropy"]}, datasets.rows()
    jobs = [
        job_of(datasets.keras_classifier, out=str(size), attribution=fields, output={"shard_bytes": size})
        for size in (300, 10**9)
    ]
    outs = [launch(job).root for job in jobs]
    first, second = (references(out).arrays["x"] for out in outs)
    assert list(first) == list(second) == fields["baseline"]
    for kind, of in OF_DATASET.items():
        # only a mean's sum is rounded: in float64, then once to float32, half of 2^-23 of it
        wanted, slack = of(rows["pixels"].astype(np.float64), axis=0), 2**-24 if kind == "mean" else 0
        for found in (first[kind], second[kind]):
            np.testing.assert_allclose(found, wanted, rtol=slack)
    # the search starts at the mean, and carries its last bit on for less than 200 steps
    np.testing.assert_allclose(first["max_entropy"], second["max_entropy"], rtol=0, atol=1e-4)
    plain = Explainer.load(jobs[0].model, jobs[0].attribution.model_copy(update={"baseline": {"": "zeros"}}))
    single = [plain.explain(rows["pixels"], rows["label"], start).attributions["x"] for start in first.values()]
    for out in outs:
        table, wanted = read(out), np.mean(single, axis=0)
        np.testing.assert_allclose(attributions(table), wanted, atol=1e-4 * np.abs(wanted).max())
        assert verify_run(open_place(out), deep=True) == []
        said = read_json(open_place(out), MANIFEST)["baseline_outputs"]
        assert [one["baseline"]["x"] for one in said[:4]] == list(OF_DATASET)
        outputs = plain.outputs(Batch({"x": np.stack(list(first.values()))}))
        np.testing.assert_allclose([one["output"] for one in said], outputs.max(axis=1), atol=1e-4)
        assert [one["index"] for one in said[:4]] == outputs[:4].argmax(axis=1).tolist()
        assert said[4]["entropy"] >= 0.99 and {one["warning"] for one in said} == {None}


def test_samples_are_the_same_whatever_the_shards(job_of: Any) -> None:
    fields, source = {"baseline": ["mean", {"samples": 4}], "seed": 3}, {"id": "name"}
    small = job_of(datasets.keras_classifier, attribution=fields, input=source, output=SMALL)
    whole = job_of(datasets.keras_classifier, "none", "whole", attribution=fields, input=source)
    outs = [launch(job).root for job in (small, whole)]
    pools = [references(out).arrays["x"]["samples"] for out in outs]
    assert np.array_equal(*pools) and len(pools[0]) == datasets.ROWS
    wanted = explained(small, outs[0])
    for out in outs:
        np.testing.assert_allclose(attributions(read(out)), wanted, atol=1e-5 * np.abs(wanted).max())
    # by hand: each row's draws of the pool, one by one, and the mean
    rows = datasets.rows()
    drawn = draw_rows(len(pools[0]), 4, 3, [("samples", 1, str(name)) for name in rows["name"]])
    starts = [np.broadcast_to(rows["pixels"].mean(axis=0), rows["pixels"].shape), *pools[0][drawn].swapaxes(0, 1)]
    plain = Explainer.load(small.model, small.attribution.model_copy(update={"baseline": {"": "zeros"}}))
    each = [plain.explain(rows["pixels"], rows["label"], start).attributions["x"] for start in starts]
    np.testing.assert_allclose(wanted, np.mean(each, axis=0), atol=1e-5 * np.abs(wanted).max())
    assert read(outs[0])["baseline_spread"].null_count == 0


def test_where_the_samples_stand_is_written(job_of: Any) -> None:
    out = launch(job_of(datasets.keras_classifier, attribution={"baseline": {"samples": 2}}, output=SMALL)).root
    table = pq.read_table(pathlib.Path(out, BASELINES))
    pixels = datasets.rows()["pixels"]
    for row in table.to_pylist():
        assert np.array_equal(row["values"], pixels[row["source_row"]]) and row["source_file"].endswith(".parquet")
    assert sorted(table["source_row"].to_pylist()) == list(range(datasets.ROWS))


def test_several_inputs_draw_the_same_rows(job_of: Any) -> None:
    job = job_of(datasets.keras_multi_input, attribution={"baseline": {"samples": 3}}, output=SMALL)
    arrays, rows = references(launch(job).root).arrays, datasets.rows()
    both = np.concatenate([rows["pixels"], rows["age"]], axis=1)
    found = np.concatenate([arrays["x"]["samples"], arrays["age"]["samples"]], axis=1)
    assert sorted(map(tuple, found)) == sorted(map(tuple, both))


def test_nothing_is_read_or_written_when_nothing_is_wanted(job_of: Any, summarized: list[int]) -> None:
    out = launch(job_of(datasets.keras_classifier)).root
    assert summarized == [] and not pathlib.Path(out, BASELINES).exists()
    assert read_json(open_place(out), RUN)["files_sha256"] == {}


def test_refused_rows_are_left_out(job_of: Any, tmp_path: pathlib.Path) -> None:
    rows = datasets.rows()
    pixels, labels = rows["pixels"].copy(), rows["label"].copy()
    pixels[3, 1], pixels[5], labels[5] = np.nan, 1e6, 99
    path = datasets.write_parquet(tmp_path / "l.parquet", rows | {"pixels": pixels, "label": labels})
    fields = {"baseline": ["mean", "max", {"samples": 2}]}
    job = job_of(datasets.keras_classifier, path, attribution=fields, output=SMALL, limits={"quarantined": 0.5})
    outcome = launch(job)
    assert outcome.manifest["quarantined"] == 2
    kept, arrays = np.delete(rows["pixels"], [3, 5], axis=0), references(outcome.root).arrays["x"]
    assert np.array_equal(arrays["max"], kept.max(axis=0)) and len(arrays["samples"]) == len(kept)
    np.testing.assert_allclose(arrays["mean"], kept.mean(axis=0, dtype=np.float64), rtol=2**-23)


def unfinish(out: str, *lost: int) -> dict[str, bytes]:
    """Make a finished run look as if it had been killed before some shards; returns what the parts were."""
    whole = {path.name: path.read_bytes() for path in parts(out)}
    for name in ("_SUCCESS", "_manifest.json", "_files.parquet", *(sorted(whole)[number] for number in lost)):
        pathlib.Path(out, name).unlink()
    return whole


def test_a_resumed_run_takes_what_is_pinned(job_of: Any, summarized: list[int]) -> None:
    fields = GIVEN | {"baseline": ["mean", {"samples": 2}]}
    job = job_of(datasets.keras_classifier, attribution=fields, output=SMALL)
    out = launch(job).root
    assert len(summarized) == len(parts(out)) > 2
    summarized.clear()
    assert launch(job).computed == 0
    whole = unfinish(out, 1, 2)
    assert launch(job).computed == 2 and summarized == []
    assert {path.name: path.read_bytes() for path in parts(out)} == whole
    assert verify_run(open_place(out), deep=True) == []


def forged(path: pathlib.Path) -> None:
    """The same file, with another value: an honest one of its kind."""
    table = pq.read_table(path)
    values = [[value + 1 for value in row] for row in table["values"].to_pylist()]
    index = table.column_names.index("values")
    pq.write_table(table.set_column(index, "values", pa.array(values, table.schema.field("values").type)), path)


@pytest.mark.parametrize("change", [forged, pathlib.Path.unlink], ids=["forged", "lost"])
@pytest.mark.parametrize("finished", [True, False])
def test_a_changed_file_is_refused(job_of: Any, change: Any, finished: bool) -> None:
    job = job_of(datasets.keras_classifier, attribution=GIVEN | {"baseline": "mean"}, output=SMALL)
    out = launch(job).root
    if not finished:
        unfinish(out, 1)
    change(pathlib.Path(out, BASELINES))
    with pytest.raises(AttribeamError, match="E_BASELINES_DAMAGED"):
        launch(job)
    if finished:
        (fault,) = verify_run(open_place(out))
        assert fault.startswith(BASELINES)


def test_a_worker_refuses_a_changed_file_too(job_of: Any) -> None:
    job = job_of(datasets.keras_classifier, attribution={"baseline": "mean"})
    place = open_place(launch(job).root)
    digest = read_json(place, RUN)["files_sha256"][BASELINES]
    forged(pathlib.Path(place.root, BASELINES))
    with pytest.raises(AttribeamError, match=r"E_BASELINES_DAMAGED.*vouches"):
        read_references(place, digest)


@pytest.mark.parametrize("same", [True, False])
def test_a_file_left_by_a_killed_launcher(job_of: Any, summarized: list[int], same: bool) -> None:
    """Killed after the baselines were drafted, and before `_run.json` was written; or, as it once was, published."""
    fields = GIVEN | {"baseline": "mean"}
    job = job_of(datasets.keras_classifier, attribution=fields if same else GIVEN | {"baseline": "max"}, output=SMALL)
    out = launch(job).root
    fingerprint = read_json(open_place(out), RUN)["fingerprint"]
    draft = pathlib.Path(out, DRAFT, fingerprint[:12], BASELINES)
    draft.parent.mkdir(parents=True)
    shutil.copy(pathlib.Path(out, BASELINES), draft)
    for path in pathlib.Path(out).glob("*"):
        if path.is_file() and (same or path.name != BASELINES):
            path.unlink()
    summarized.clear()
    again = launch(job_of(datasets.keras_classifier, attribution=fields, output=SMALL))
    assert (summarized == []) is same
    assert set(references(again.root).arrays["x"]) == {"mean"}
    assert verify_run(open_place(again.root), deep=True) == []
    assert not draft.parent.parent.exists()


def test_baselines_that_were_pinned_and_not_published_yet_are_taken_from_the_draft(
    job_of: Any, monkeypatch: Any, summarized: list[int]
) -> None:
    """Killed after `_run.json` was written, and before the baselines stood beside it."""
    job = job_of(datasets.keras_classifier, attribution=GIVEN | {"baseline": "mean"}, output=SMALL)
    monkeypatch.setattr(pinned_baselines, "_copy", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        launch(job)
    monkeypatch.undo()
    out = pathlib.Path(job.output.path)
    assert (out / RUN).exists() and not (out / BASELINES).exists()
    assert launch(job).manifest["rows"] == datasets.ROWS
    assert verify_run(open_place(str(out)), deep=True) == []
    assert not (out / DRAFT).exists()


def test_another_run_is_refused_before_the_data_is_read(job_of: Any, summarized: list[int]) -> None:
    launch(job_of(datasets.keras_classifier))
    with pytest.raises(UsageError, match=r"E_OUTPUT_OTHER_RUN.*attribution.baseline"):
        launch(job_of(datasets.keras_classifier, attribution={"baseline": "mean"}))
    assert summarized == []


def test_a_baseline_at_which_the_model_is_sure_is_warned_of(job_of: Any, caplog: pytest.LogCaptureFixture) -> None:
    sure = {"baseline": [{"constant": 50.0}, "max_entropy", {"uniform": [0, 1], "draws": 1}]}
    first, second = launch(job_of(datasets.sigmoid, attribution=sure)).manifest["baseline_outputs"]
    assert first["baseline"] == {"x": {"constant": 50.0}}
    np.testing.assert_allclose(first["output"], 1 / (1 + np.exp(-50.0 * datasets.LINEAR.sum())), rtol=1e-5)
    assert first["entropy"] < 0.01 and "entropy" in first["warning"]
    # H = 0.99 ln 2 is where p is 0.5 ± 0.059
    assert second["entropy"] >= 0.99 and abs(second["output"] - 0.5) < 0.06 and second["warning"] is None
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("transforms")]
    assert logged == [first["warning"]]


def test_a_plan_and_a_pilot_try_with_the_first_rows(job_of: Any, summarized: list[int]) -> None:
    from rich.console import Console

    from pipeline.preview import preview

    job = job_of(datasets.keras_classifier, attribution={"baseline": ["median", {"samples": 2}]})
    preview(job, pathlib.Path("/"), Console(quiet=True), pilot_rows=5)
    assert summarized == [] and not pathlib.Path(job.output.path, BASELINES).exists()
    assert launching.run(job, pathlib.Path("/")).manifest["pilot"]["gradients"]["measured"] > 0


def test_what_cannot_be_is_refused_at_launch(job_of: Any, summarized: list[int]) -> None:
    with pytest.raises(UsageError, match=r"E_BASELINE_ENTROPY.*one output"):
        launch(job_of(datasets.linear, attribution={"baseline": "max_entropy"}))
    with pytest.raises(UsageError, match="E_BASELINE_INPUT"):
        launch(job_of(datasets.linear, attribution={"baseline": {"y": "mean"}}))
    assert summarized == []


def test_a_notebook_makes_the_same_of_its_own_rows(job_of: Any) -> None:
    job = job_of(datasets.keras_classifier, attribution={"baseline": ["min", "max", "median", "max_entropy"]})
    explainer = Explainer.load(job.model, job.attribution)
    found = references_of_rows({"x": datasets.rows()["pixels"]}, job.attribution, explainer.model).arrays["x"]
    wanted = references(launch(job).root).arrays["x"]
    assert found.keys() == wanted.keys()
    for kind, value in wanted.items():
        assert np.array_equal(found[kind], value), kind
