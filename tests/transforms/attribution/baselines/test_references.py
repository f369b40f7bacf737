"""What baselines take of a dataset, in a notebook: summaries, draws, and what is missing."""

import models
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.attribution.baselines import dataset_summary
from transforms.attribution.baselines.dataset_summary import merged, nothing, request, sample_key, summary_of
from transforms.attribution.baselines.references import References, references_of_rows
from transforms.attribution.baselines.row_baselines import draw_rows, generator
from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.model.model_input import ModelInput
from transforms.errors import UsageError

N, ROWS = 6, 9
X = ([None, N], "float32")
IDS = [f"row {row}" for row in range(ROWS)]
FLOAT = np.dtype("float32")
INPUT = ModelInput("x", (None, 2), FLOAT, FLOAT, True)
EVERYTHING = AttributionConfig(baseline=["min", "max", "mean", "median", {"samples": 2}])


def rows(count=ROWS, seed=0):
    return np.random.default_rng(seed).normal(size=(count, N)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=6), st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_any_way_to_split_a_dataset_gives_the_same_summary(sizes, seed, bound):
    values = np.random.default_rng(seed).normal(size=(sum(sizes), 2, 2)).astype(np.float32)
    keys = [sample_key(seed, str(row // 2), "file", row) for row in range(len(values))]  # every id twice
    wanted = request(EVERYTHING, [INPUT], {"x": (2, 2)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset_summary, "MEDIAN_ROWS", bound)
        patch.setattr(dataset_summary, "POOL_ROWS", bound)
        found = nothing()
        for part in np.split(np.arange(len(values)), np.cumsum(sizes)[:-1]):
            some = summary_of({"x": values[part]}, [keys[row] for row in part], wanted) if len(part) else nothing()
            found = merged(some, found, wanted)
        bound = wanted.sample_rows
    assert found.rows == len(values)
    if not len(values):
        return
    order = sorted(range(len(values)), key=keys.__getitem__)[:bound]
    assert list(found.keys) == [keys[row] for row in order] and np.array_equal(found.sample["x"], values[order])
    assert np.array_equal(found.low["x"], values.min(axis=0))
    assert np.array_equal(found.high["x"], values.max(axis=0))
    # at most 42 sums in float64
    slack = 42 * 2**-53 * np.abs(values).sum()
    np.testing.assert_allclose(found.total["x"], values.astype(np.float64).sum(axis=0), rtol=0, atol=slack)


def test_the_sample_is_bounded_in_bytes():
    wide = request(EVERYTHING, [INPUT], {"x": (2**20, 4)})  # 16 MiB a row
    assert (wide.sample_rows, wide.pool_rows) == (4, 4)
    huge = request(EVERYTHING, [INPUT], {"x": (2**26, 4)})
    assert (huge.sample_rows, huge.pool_rows) == (1, 1)
    assert (request(EVERYTHING, [INPUT], {"x": (2, 2)}).sample_rows) == dataset_summary.MEDIAN_ROWS
    many = request(AttributionConfig(baseline={"samples": 1000}), [INPUT], {"x": (2, 2)})
    assert (many.sample_rows, many.pool_rows) == (1000, 1000)
    for needless in ("zeros", "min", "max_entropy", {"constant": 1}):
        assert request(AttributionConfig(baseline=needless), [INPUT], {"x": (2, 2)}).sample_rows == 0


@pytest.mark.parametrize("shapes", [{"x": (None, 2)}, {}], ids=["varying", "no input of the dataset"])
def test_what_has_no_one_shape_in_the_dataset_is_refused(shapes):
    assert request(AttributionConfig(), [INPUT], shapes).inputs == ()
    with pytest.raises(UsageError, match=r"E_BASELINE_DATASET.*'x'.*mean"):
        request(AttributionConfig(baseline="mean"), [INPUT], shapes)


@pytest.mark.parametrize(("size", "count"), [(5, 3), (5, 5), (5, 12), (1, 4)])
def test_draws_are_different_rows_as_long_as_there_are_others(size, count):
    names = [(name,) for name in IDS]
    drawn = draw_rows(size, count, 0, names)
    assert drawn.shape == (ROWS, count)
    for row in drawn:
        times = np.bincount(row, minlength=size)
        assert times.max() - times.min() <= 1
    assert np.array_equal(draw_rows(size, count, 0, names[::-1]), drawn[::-1])
    assert size == 1 or not np.array_equal(draw_rows(size, count, 1, names), drawn)


def test_every_row_of_the_pool_is_drawn_equally_often():
    drawn = draw_rows(20, 4, 0, [(name,) for name in range(2000)])
    # 8,000 draws over 20 rows: 400 each; the standard deviation of one's count is below √(8000/20)
    assert np.abs(np.bincount(drawn.ravel(), minlength=20) - 400).max() < 5 * 20


@pytest.fixture(scope="module")
def engine(model_of):
    config = AttributionConfig(target=1, steps=8, baseline=["mean", {"samples": 3}])
    model = model_of(models.mlp, x=X)
    return Explainer(model, config, references=references_of_rows({"x": rows(30, seed=1)}, config, model))


def test_samples_are_averaged_beside_others(engine, explainer):
    x, arrays = rows(), engine.references.arrays["x"]
    found = engine.explain(x, row_ids=IDS)
    drawn = arrays["samples"][draw_rows(30, 3, 0, [("samples", 1, name) for name in IDS])]
    plain = explainer(engine.model, target=1, steps=8)
    starts = [np.broadcast_to(arrays["mean"], x.shape), *drawn.swapaxes(0, 1)]
    wanted = np.mean([plain.explain(x, baselines=start).attributions["x"] for start in starts], axis=0)
    # another batch changes a value by 1e-6 of the largest
    np.testing.assert_allclose(found.attributions["x"], wanted, atol=2e-6 * np.abs(wanted).max())
    assert found.steps.tolist() == [4 * 8] * ROWS


def test_every_noisy_copy_draws_anew(engine, explainer):
    noise = {"kind": "smoothgrad", "draws": 2, "sigma": 0.3}
    config = AttributionConfig(target=1, steps=8, baseline={"samples": 3}, noise=noise)
    x, pool = rows(), engine.references.arrays["x"]["samples"]
    found = Explainer(engine.model, config, references=engine.references).explain(x, row_ids=IDS)
    half = np.stack([generator(0, "noise", "x", name).standard_normal(N, np.float32) for name in IDS])
    noisy = (x[:, np.newaxis] + 0.3 * np.stack([half, -half], axis=1)).astype(np.float32)
    plain = explainer(engine.model, target=1, steps=8)
    each = []
    for copy in range(2):
        chosen = draw_rows(len(pool), 3, 0, [("samples", 0, name, copy) for name in IDS])
        starts = pool[chosen].swapaxes(0, 1)
        each += [plain.explain(noisy[:, copy], baselines=start).attributions["x"] for start in starts]
    wanted = np.mean(each, axis=0)
    np.testing.assert_allclose(found.attributions["x"], wanted, atol=2e-6 * np.abs(wanted).max())


def test_draws_depend_on_the_seed_and_the_id_alone(engine):
    x, order = rows(), [3, 0, 8, 4, 1, 2, 7, 6, 5]
    wanted = engine.explain(x, row_ids=IDS).attributions["x"]
    slack = 2e-6 * np.abs(wanted).max()
    turned = engine.explain(x[order], row_ids=[IDS[row] for row in order]).attributions["x"]
    np.testing.assert_allclose(turned, wanted[order], atol=slack)
    alone = engine.stream(Batch({"x": x[row : row + 1]}, row_ids=IDS[row : row + 1]) for row in range(ROWS))
    np.testing.assert_allclose(np.concatenate([part.attributions["x"] for part in alone]), wanted, atol=slack)
    other = engine.explain(x, row_ids=[f"other {row}" for row in range(ROWS)]).attributions["x"]
    assert (np.abs(other - wanted).max(axis=1) > 1e-3 * np.abs(wanted).max()).any()


def test_inputs_draw_the_same_rows(model_of):
    a, b = rows(), rows(seed=2)
    config = AttributionConfig(steps=3, baseline={"samples": 4})
    model = model_of(models.product, a=X, b=X)
    # of Σ ab, the outputs at the baselines are those of whole rows of the dataset: all the same ones here
    pool = {"a": np.eye(N, dtype=np.float32), "b": 5 * np.eye(N, dtype=np.float32)}
    found = Explainer(model, config, references=references_of_rows(pool, config, model)).explain(
        {"a": a, "b": b}, row_ids=IDS
    )
    np.testing.assert_allclose(found.baseline_output, 5, rtol=1e-6)


@pytest.mark.parametrize("baseline", ["mean", {"samples": 2}, ["zeros", "max"], "max_entropy"])
def test_a_baseline_of_a_dataset_that_is_not_there(model_of, baseline):
    explainer = Explainer(model_of(models.mlp, x=X), AttributionConfig(target=0, steps=3, baseline=baseline))
    with pytest.raises(UsageError, match=r"E_BASELINE_DATASET: the baseline of 'x' is \w+ of a dataset"):
        explainer.explain(rows())
    # given ones stand for it
    assert explainer.explain(rows(), baselines=0.0).baseline_output.shape == (ROWS,)


def test_arrays_of_a_users_own(model_of):
    config = AttributionConfig(target=0, steps=3, baseline="mean")
    model = model_of(models.mlp, x=X)
    found = Explainer(model, config, references=References({"x": {"mean": np.ones(N)}})).explain(rows())
    wanted = Explainer(model, AttributionConfig(target=0, steps=3, baseline={"constant": 1})).explain(rows())
    np.testing.assert_allclose(found.attributions["x"], wanted.attributions["x"], atol=1e-6)
    with pytest.raises(UsageError, match="E_BASELINE_SHAPE"):
        Explainer(model, config, references=References({"x": {"mean": np.ones(N + 1)}})).explain(rows())


def test_no_rows_are_no_dataset(model_of):
    with pytest.raises(UsageError, match="E_INPUT_NO_ROWS"):
        references_of_rows({"x": rows(0)}, AttributionConfig(target=0, baseline="mean"), model_of(models.mlp, x=X))
