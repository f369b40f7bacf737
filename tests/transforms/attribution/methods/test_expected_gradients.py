"""Expected gradients: mean and standard error against the same draws by hand, and against what they estimate."""

import models
import numpy as np
import pytest
from pydantic import ValidationError

from transforms.attribution.baselines.row_baselines import generator
from transforms.attribution.config import AttributionConfig

N, ROWS, DRAWS = 4, 6, 50
X = ([None, N], "float32")
H = np.random.default_rng(1).normal(size=(N, N))
H = ((H + H.T) / 2).astype(np.float32)
BASELINE = {"uniform": [-1.0, 1.0], "draws": DRAWS}
IDS = [f"row {row}" for row in range(ROWS)]


def form(x):
    """xᵀHx."""
    return models.tf.einsum("bi,ij,bj->b", x, models.tf.constant(H), x)


def rows(count=ROWS):
    return np.random.default_rng(0).normal(size=(count, N)).astype(np.float32)


def each_draw(x, ids, draws=DRAWS):
    """(x − b) ⊙ ∂F(b + α(x − b)), α and b of every draw: [rows, draws, N], [rows, draws] and [rows, draws, N]."""
    baselines = np.stack([generator(0, "baseline", 0, "x", name).uniform(-1, 1, (draws, N)) for name in ids])
    baselines = baselines.astype(np.float32).astype(np.float64)
    places = []
    for name in ids:
        numbers = generator(0, "alpha", name)
        places.append((numbers.permutation(draws) + numbers.uniform(size=draws)) / draws)
    way = x[:, np.newaxis].astype(np.float64) - baselines
    points = baselines + np.stack(places)[..., np.newaxis] * way
    return way * (2 * points @ H.astype(np.float64)), np.stack(places), baselines


def test_mean_and_standard_error_are_those_of_the_draws(model_of, explainer):
    x = rows()
    found = explainer(model_of(form, x=X), method="expected_gradients", baseline=BASELINE).explain(x, row_ids=IDS)
    values, places, baselines = each_draw(x, IDS)
    assert (np.sort(np.floor(places * DRAWS), axis=1) == np.arange(DRAWS)).all(), "one place in every part of the path"
    limit = models.rounding(DRAWS, 2 * np.abs(H).sum() * 16)
    np.testing.assert_allclose(found.attributions["x"], values.mean(axis=1), atol=limit)
    error = values.std(axis=1, ddof=1) / np.sqrt(DRAWS)
    wanted = error.sum(axis=1) / np.abs(values.mean(axis=1)).sum(axis=1)
    np.testing.assert_allclose(found.error_estimate, wanted, rtol=1e-4)
    output = np.einsum("bdi,ij,bdj->bd", baselines, H, baselines).mean(axis=1)
    np.testing.assert_allclose(found.baseline_output, output, atol=limit)
    assert found.steps.tolist() == [DRAWS] * ROWS and set(found.status) <= {"ok", "unconverged"}
    assert (found.status == np.where((wanted <= 0.02) & (found.relative_delta <= 0.02), "ok", "unconverged")).all()


def test_a_small_spread_of_large_values_is_seen(model_of, explainer):
    slope, draws = np.linspace(1, 2, N, dtype=np.float32), 100  # more than a slot holds
    model = model_of(lambda x: models.tf.linalg.matvec(x, models.tf.constant(slope)), x=X)
    baseline = {"uniform": [-1e-3, 1e-3], "draws": draws}
    x = rows() + np.float32(10)
    found = explainer(model, method="expected_gradients", baseline=baseline).explain(x, row_ids=IDS)
    drawn = [generator(0, "baseline", 0, "x", name).uniform(-1e-3, 1e-3, (draws, N)) for name in IDS]
    values = (x[:, np.newaxis] - np.stack(drawn).astype(np.float32)).astype(np.float64) * slope
    error = values.std(axis=1, ddof=1) / np.sqrt(draws)
    wanted = error.sum(axis=1) / np.abs(values.mean(axis=1)).sum(axis=1)
    # each value is rounded by up to 10 · 2 · 2⁻²⁴, independently, beside a standard deviation of 1e-3/√3 and more; a
    # difference of mean squares in float32 would be off by 400 · 2⁻²⁴, 70 times the variance
    np.testing.assert_allclose(found.error_estimate, wanted, rtol=4 * 20 * 2**-24 / (1e-3 / np.sqrt(3)))


def test_the_error_is_as_large_as_it_says(model_of, explainer):
    ids = [f"draw {index}" for index in range(400)]
    x = np.repeat(rows(1), len(ids), axis=0)
    found = explainer(model_of(form, x=X), method="expected_gradients", baseline=BASELINE).explain(x, row_ids=ids)
    # E over b uniform in [−1, 1] and α: 2(x − b) ⊙ H(b + α(x − b)), of which every odd power of b vanishes
    h, point = H.astype(np.float64), x[0].astype(np.float64)
    exact = point * (h @ point) - np.diagonal(h) / 3
    # 400 means of 50 draws: their spread is what one of them says of itself, or less, for places are stratified
    values, *_ = each_draw(x, ids)
    said = (values.std(axis=1, ddof=1) / np.sqrt(DRAWS)).mean(axis=0)
    spread = found.attributions["x"].std(axis=0, ddof=1)
    assert (spread <= 1.2 * said).all()
    middle = found.attributions["x"].mean(axis=0, dtype=np.float64)
    assert (np.abs(middle - exact) <= 5 * said / np.sqrt(len(ids))).all()


def test_noise_over_it_keeps_the_places_of_the_row(model_of, explainer):
    noise = {"kind": "smoothgrad", "draws": 2, "sigma": 1e-30}
    model = model_of(form, x=X)
    same = [
        explainer(model, method="expected_gradients", baseline=["zeros", {"constant": 1.0}], noise=kind).explain(
            rows(), row_ids=IDS
        )
        for kind in (None, noise)
    ]
    np.testing.assert_allclose(same[0].attributions["x"], same[1].attributions["x"], atol=1e-5)
    np.testing.assert_allclose(same[0].error_estimate, same[1].error_estimate, rtol=1e-4)


def test_one_baseline_is_refused():
    with pytest.raises(ValidationError, match="samples"):
        AttributionConfig(method="expected_gradients")
