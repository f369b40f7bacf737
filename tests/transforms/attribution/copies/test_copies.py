"""Copies of rows: several baselines and noisy copies, against loops over the same, wherever a row is computed."""

import models
import numpy as np
import pytest
from pydantic import ValidationError

from transforms.attribution.baselines.row_baselines import generator
from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig
from transforms.attribution.copies import copies
from transforms.attribution.copies.merging import Merging
from transforms.attribution.explanation import LOST

N, ROWS, STEPS = 6, 5, 8
X = ([None, N], "float32")
NOISE = {"kind": "smoothgrad", "draws": 4, "sigma": 0.3}
IDS = [f"row {row}" for row in range(ROWS)]


def rows(count=ROWS):
    return np.random.default_rng(0).normal(size=(count, N)).astype(np.float32)


@pytest.fixture
def mlp(model_of, explainer):
    """mlp(**AttributionConfig fields) → an explainer of it."""
    return lambda **fields: explainer(model_of(models.mlp, x=X), **{"target": 1, "steps": STEPS} | fields)


def noisy(x, ids, seed=0, kind="smoothgrad"):
    """The copies of each row, [rows, draws, N], as `noise` has them."""
    numbers = [generator(seed, "noise", "x", name) for name in ids]
    if kind == "smoothgrad":
        halves = [one.standard_normal((NOISE["draws"] // 2, N), np.float32) for one in numbers]
        drawn = [np.stack([half, -half], axis=1).reshape(-1, N) for half in halves]
    else:
        drawn = [one.standard_normal((NOISE["draws"], N), np.float32) for one in numbers]
    return (x[:, np.newaxis] + NOISE["sigma"] * np.stack(drawn)).astype(np.float32)


def test_several_baselines_are_averaged(mlp):
    x, places = rows(), [0.0, 1.0, -2.0]
    single = [mlp(baseline={"constant": place}).explain(x) for place in places]
    found = mlp(baseline=["zeros", {"constant": 1.0}, {"constant": [-2.0] * N}]).explain(x)
    each = np.stack([part.attributions["x"] for part in single])
    middle = each.mean(axis=0)
    np.testing.assert_allclose(found.attributions["x"], middle, atol=1e-6)
    np.testing.assert_allclose(found.output, single[0].output, atol=1e-6)
    np.testing.assert_allclose(
        found.baseline_output, np.mean([part.baseline_output for part in single], axis=0), atol=1e-6
    )
    np.testing.assert_allclose(found.delta, np.mean([part.delta for part in single], axis=0), atol=1e-5)
    spread = each.std(axis=0, dtype=np.float64).sum(axis=1) / np.abs(middle).sum(axis=1)
    np.testing.assert_allclose(found.baseline_spread, spread, rtol=1e-5)
    assert found.steps.tolist() == [3 * STEPS] * ROWS and single[0].baseline_spread is None


COMBINED = {
    "smoothgrad": lambda each: each.mean(axis=1),
    "smoothgrad_squared": lambda each: (each**2).mean(axis=1),
    "vargrad": lambda each: each.var(axis=1),
}


@pytest.mark.parametrize("kind", COMBINED)
@pytest.mark.parametrize("method", ["integrated_gradients", "saliency"])
def test_noisy_copies_are_combined(mlp, kind, method):
    x, plain = rows(), mlp(method=method)
    each = np.stack([plain.explain(part).attributions["x"] for part in noisy(x, IDS, kind=kind)])
    each = each.astype(np.float64)
    found = mlp(method=method, noise=NOISE | {"kind": kind}).explain(x, row_ids=IDS)
    wanted = COMBINED[kind](each)
    # another batch changes a value by 1e-6 of the largest; squares double that, and scale with it
    scale = np.abs(each).max()
    np.testing.assert_allclose(found.attributions["x"], wanted, atol=2e-6 * max(scale, scale**2))
    assert found.baseline_spread is None and found.steps.tolist() == [4 * plain.explain(x).steps[0]] * ROWS
    if kind == "smoothgrad" and method == "integrated_gradients":
        output = np.mean([plain.explain(part).output for part in noisy(x, IDS)], axis=1)
        np.testing.assert_allclose(found.output, output, atol=1e-6)
        assert (np.abs(found.delta) < 1e-2).all() and set(found.status) == {"ok"}


def test_noise_over_several_baselines(mlp):
    x, both = rows(), ["zeros", {"constant": 1.0}]
    copies_of = noisy(x, IDS, kind="vargrad")
    each = [[mlp(baseline=place).explain(part).attributions["x"] for part in copies_of] for place in both]
    found = mlp(baseline=both, noise=NOISE | {"kind": "vargrad"}).explain(x, row_ids=IDS)
    np.testing.assert_allclose(found.attributions["x"], np.mean(each, axis=0).var(axis=1), atol=1e-5)


@pytest.mark.parametrize(
    "fields", [{"noise": NOISE}, {"baseline": {"uniform": [-1, 1]}}, {"baseline": {"gaussian": 0.5}}]
)
def test_what_is_drawn_depends_on_the_seed_and_the_id_alone(mlp, fields, monkeypatch):
    x = rows()
    wanted = mlp(**fields).explain(x, row_ids=IDS).attributions["x"]
    scale = np.abs(wanted).max()
    order = [3, 0, 4, 1, 2]
    turned = mlp(**fields).explain(x[order], row_ids=[IDS[row] for row in order]).attributions["x"]
    np.testing.assert_allclose(turned, wanted[order], atol=1e-6 * scale)
    alone = mlp(**fields).stream(Batch({"x": x[row : row + 1]}, row_ids=IDS[row : row + 1]) for row in range(ROWS))
    np.testing.assert_allclose(np.concatenate([part.attributions["x"] for part in alone]), wanted, atol=1e-6 * scale)
    monkeypatch.setattr(copies, "PIECE_BYTES", 1)  # one row at a time
    np.testing.assert_allclose(mlp(**fields).explain(x, row_ids=IDS).attributions["x"], wanted, atol=1e-6 * scale)
    for other in ({"seed": 1}, {}):
        ids = IDS if other else [f"another {row}" for row in range(ROWS)]
        drawn = mlp(**fields, **other).explain(x, row_ids=ids).attributions["x"]
        assert (np.abs(drawn - wanted).max(axis=1) > 1e-3 * scale).all()


def test_the_target_is_that_of_the_row_itself(mlp):
    x, wild = rows(), NOISE | {"sigma": 5.0}
    clean = mlp(target="predicted").explain(x).target
    found = mlp(target="predicted", noise=wild).explain(x, row_ids=IDS)
    assert found.target.tolist() == clean.tolist()
    fixed = [mlp(target=int(target), noise=wild).explain(x, row_ids=IDS) for target in clean]
    wanted = np.stack([part.attributions["x"][row] for row, part in enumerate(fixed)])
    np.testing.assert_allclose(found.attributions["x"], wanted, atol=1e-6 * np.abs(wanted).max())


def test_several_targets(mlp):
    x = rows()
    found = mlp(target={"top_k": 2}, noise=NOISE, baseline=["zeros", {"constant": 1.0}]).explain(x, row_ids=IDS)
    assert found.rows.tolist() == np.repeat(np.arange(ROWS), 2).tolist() and found.target_rank.tolist() == [0, 1] * ROWS
    for target in range(3):
        fixed = mlp(target=target, noise=NOISE, baseline=["zeros", {"constant": 1.0}]).explain(x, row_ids=IDS)
        chosen = found.target == target
        np.testing.assert_allclose(
            found.attributions["x"][chosen], fixed.attributions["x"][found.rows[chosen]], atol=2e-6
        )


def test_the_estimate_bounds_the_error_of_the_mean(mlp):
    x, fields = rows(), {"noise": NOISE, "baseline": ["zeros", {"constant": 2.0}]}
    exact = mlp(**fields, steps=500).explain(x, row_ids=IDS).attributions["x"]
    found = mlp(**fields, steps="auto", tolerance=0.05).explain(x, row_ids=IDS)
    error = np.abs(found.attributions["x"] - exact).sum(axis=1) / np.abs(exact).sum(axis=1)
    assert (error <= found.error_estimate).all() and (found.steps >= 2 * 4 * NOISE["draws"]).all()


def test_a_row_without_one_of_its_copies_is_lost(mlp):
    config = AttributionConfig(target=1, noise=NOISE, baseline=["zeros", {"constant": 1.0}])
    whole = mlp().explain(rows(3 * config.copies))
    kept = np.flatnonzero(whole.rows != config.copies + 2)
    part = copies.dataclasses.replace(whole.some(kept), faults={config.copies + 2: LOST})
    found, wanted = (Merging(config, NOISE["draws"], 2).merged(explanation, 3) for explanation in (part, whole))
    assert found.rows.tolist() == [0, 2] and dict(found.faults) == {1: LOST}
    assert np.array_equal(found.attributions["x"], wanted.attributions["x"][[0, 2]])
    assert found.baseline_spread.tolist() == wanted.baseline_spread[[0, 2]].tolist()


def test_an_input_with_one_baseline_beside_one_with_several(model_of, explainer):
    a, b = rows(), rows()[::-1] + 2
    model = model_of(models.product, a=X, b=X)
    baseline = {"a": [{"constant": 1.0}, "zeros"], "b": {"constant": 2.0}}
    found = explainer(model, steps=3, baseline=baseline).explain({"a": a, "b": b})
    single = [
        explainer(model, steps=3, baseline=baseline | {"a": one}).explain({"a": a, "b": b}) for one in baseline["a"]
    ]
    for name in ("a", "b"):
        wanted = np.mean([part.attributions[name] for part in single], axis=0)
        np.testing.assert_allclose(found.attributions[name], wanted, atol=1e-5)


def test_a_column_among_the_baselines_takes_what_is_given(mlp):
    x, given = rows(), rows()[::-1].copy()
    single = [mlp(baseline="zeros").explain(x), mlp(baseline={"column": "c"}).explain(x, baselines=given)]
    found = mlp(baseline=["zeros", {"column": "c"}]).explain(x, baselines=given)
    wanted = np.mean([part.attributions["x"] for part in single], axis=0)
    np.testing.assert_allclose(found.attributions["x"], wanted, atol=2e-6)


def test_given_baselines_stand_for_all_configured(mlp):
    x = rows()
    found = mlp(baseline={"uniform": [0, 1], "draws": 3}).explain(x, baselines=np.zeros(N, np.float32))
    np.testing.assert_allclose(found.attributions["x"], mlp().explain(x).attributions["x"], atol=1e-6)
    assert found.baseline_spread.max() <= 1e-6


def test_the_blind_share_counts_features_that_equal_their_baseline(mlp):
    x = rows()
    x[0, :3], x[1] = 1.0, 1.0
    found = mlp(baseline={"constant": 1.0}).explain(x)
    np.testing.assert_allclose(found.blind_share, [0.5, 1.0, 0, 0, 0])
    both = mlp(baseline=["zeros", {"constant": 1.0}]).explain(x)
    np.testing.assert_allclose(both.blind_share, [0.25, 0.5, 0, 0, 0])


REFUSED = [
    ({"method": "smooth_taylor"}, "gaussian"),
    ({"method": "smooth_taylor", "baseline": {"uniform": [0, 1]}}, "gaussian"),
    ({"baseline": {"a": {"uniform": [0, 1], "draws": 2}, "b": {"uniform": [0, 1], "draws": 3}}}, "2, 3"),
    ({"baseline": []}, "0"),
    ({"noise": NOISE, "precision": "bfloat16"}, "lower precision"),
    ({"method": "saliency", "precision": "bfloat16"}, "lower precision"),
    ({"noise": NOISE | {"draws": 1}}, "draws"),
    ({"baseline": {"gaussian": 0}}, "gaussian"),
]


@pytest.mark.parametrize(("fields", "named"), REFUSED)
def test_what_does_not_fit_is_refused(fields, named):
    with pytest.raises(ValidationError, match=named):
        AttributionConfig(**fields)
