"""Noise that suits each row: the search against one row by row, and its map against SmoothTaylor with the σ found."""

import dataclasses

import models
import numpy as np
import pytest

from transforms.attribution.batch import Batch
from transforms.attribution.copies.adaptive_noise import ROUNDS, AdaptiveNoise
from transforms.attribution.copies.map_measures import MapMeasure
from transforms.attribution.explanation import LOST
from transforms.errors import UsageError

SIDE, ROWS, DRAWS = 20, 3, 6
IMAGE = ([None, SIDE, SIDE, 2], "float32")
IDS = [f"image {row}" for row in range(ROWS)]
BASELINE = {"gaussian": 0.1, "draws": DRAWS}


def edges(x):
    """A smooth function of neighbouring pixels, [batch, 2]."""
    tf = models.tf
    down, across = x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]
    first = tf.reduce_sum(tf.tanh(2 * down) ** 2, [1, 2, 3])
    return tf.stack([first, first + tf.reduce_sum(tf.sin(3 * across), [1, 2, 3])], axis=1)


def images():
    place = np.stack(np.meshgrid(*[np.arange(SIDE)] * 2, indexing="ij"))
    blobs = [np.exp(-((place - center) ** 2).sum(axis=0) / 20) for center in (5, 10, 14)]
    noise = np.random.default_rng(0).normal(scale=0.05, size=(ROWS, SIDE, SIDE, 2))
    return (np.stack(blobs)[..., np.newaxis] + noise).astype(np.float32)


def method(kind):
    return {"name": "smooth_taylor", "adaptive_noise": kind}


def searched(x, measure):
    """The search of one row, in a loop: the best σ, and how many were tried."""
    sigma, step, left, failures = float(np.abs(x).mean(dtype=np.float64)), 0.1, ROUNDS, 0
    best, tried = measure(sigma), 1
    while left > 0:
        left -= 1
        for other in (sigma + step, sigma - step):
            if other <= 0:
                continue
            tried += failures == 0  # the same again is not computed again
            if measure(other) < best:
                sigma, best, failures = other, measure(other), 0
                break
        else:
            failures += 1
            if failures == 3:
                step, failures = step * 0.9, 0
    return sigma, tried


@pytest.mark.parametrize("kind", ["autvc", "aupc"])
def test_every_row_gets_the_best_noise_that_the_search_meets(model_of, explainer, kind):
    x, model = images(), model_of(edges, x=IMAGE)
    found = explainer(model, method=method(kind), baseline=BASELINE, target=1).explain(x, row_ids=IDS)
    outputs = explainer(model, method="saliency", target=1).outputs
    for row, name in enumerate(IDS):

        def measure(sigma, row=row, name=name):
            plain = explainer(model, method="smooth_taylor", baseline=BASELINE | {"gaussian": sigma}, target=1)
            alone = Batch({"x": x[row : row + 1]}, row_ids=[name])
            return float(MapMeasure(kind, "x", outputs, 0)(alone, plain.explain(alone.inputs, row_ids=[name]))[0])

        sigma, tried = searched(x[row], measure)
        wanted = explainer(model, method="smooth_taylor", baseline=BASELINE | {"gaussian": sigma}, target=1).explain(
            x[row : row + 1], row_ids=[name]
        )
        scale = np.abs(wanted.attributions["x"]).max()
        np.testing.assert_allclose(found.attributions["x"][row], wanted.attributions["x"][0], atol=1e-5 * scale)
        assert found.steps[row] == tried * DRAWS
    assert found.rows.tolist() == list(range(ROWS)) and set(found.status) == {"ok"}


def test_it_does_not_depend_on_the_other_rows(model_of, explainer):
    engine = explainer(model_of(edges, x=IMAGE), method=method("autvc"), baseline=BASELINE, target=0)
    x = images()
    together = engine.explain(x, row_ids=IDS)
    alone = engine.explain(x[1:2], row_ids=IDS[1:2])
    scale = np.abs(alone.attributions["x"]).max()
    np.testing.assert_allclose(together.attributions["x"][1], alone.attributions["x"][0], atol=1e-5 * scale)
    assert together.steps[1] == alone.steps[0]


def test_a_lost_row_is_named_and_the_others_are_found(model_of, explainer):
    plain = explainer(model_of(edges, x=IMAGE), method="smooth_taylor", baseline=BASELINE, target=0)
    lost = AdaptiveNoise(
        lambda batches: (_without_first(plain.explain(part.inputs)) for part in batches),
        MapMeasure("autvc", "x", plain.outputs, 0),
        "x",
    )
    (found,) = lost.stream([Batch({"x": images()})])
    assert list(found.faults) == [0] and found.rows.tolist() == [1, 2]


def _without_first(found):
    one = found.rows[0] if len(found) == ROWS else None
    kept = found.some(np.flatnonzero(found.rows != one))
    return kept if one is None else dataclasses.replace(kept, faults={0: LOST})


@pytest.mark.parametrize(("function", "spec"), [(models.mlp, ([None, 6], "float32"))])
def test_what_is_no_image_is_refused(model_of, explainer, function, spec):
    with pytest.raises(UsageError, match=r"E_ADAPTIVE_NOISE.*x \[6\]"):
        explainer(model_of(function, x=spec), method=method("autvc"), baseline=BASELINE, target=0)
