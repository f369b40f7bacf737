"""Baselines made from the row, each against its definition."""

import numpy as np
import pytest

from transforms.attribution.baseline_config import (
    BlurBaseline,
    GaussianBaseline,
    MaxDistanceBaseline,
    UniformBaseline,
)
from transforms.attribution.baselines.blur import blurred
from transforms.attribution.baselines.row_baselines import generator, row_baselines
from transforms.attribution.config import AttributionConfig

NAMES = [("a",), ("b",), ("c",)]


def rows(*shape):
    return np.random.default_rng(0).random((len(NAMES), *shape)).astype(np.float32)


def mirrored(values, row, column):
    """The pixel at a place beyond the border, reflected at the edge of the outermost pixel."""
    height, width = values.shape[:2]
    row, column = row % (2 * height), column % (2 * width)
    return values[min(row, 2 * height - 1 - row), min(column, 2 * width - 1 - column)]


@pytest.mark.parametrize(("sigma", "shape"), [(0.7, (5, 6, 2)), (3.0, (4, 3))])
def test_a_blur_is_a_convolution_with_a_gaussian(sigma, shape):
    x, reach = rows(*shape), int(np.ceil(6 * sigma))
    places = np.arange(-reach, reach + 1)
    weight = np.exp(-(places[:, np.newaxis] ** 2 + places**2) / (2 * sigma**2))
    weight /= weight.sum()
    wanted = np.zeros(x.shape)
    for index in np.ndindex(x.shape[:3]):
        around = [
            w * mirrored(x[index[0]].astype(np.float64), index[1] + r, index[2] + c)
            for (r, c), w in zip(
                np.stack(np.meshgrid(places, places, indexing="ij"), -1).reshape(-1, 2), weight.flat, strict=True
            )
        ]
        wanted[index] = np.sum(around, axis=0)
    found = blurred(x, sigma)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=2**-23)


def test_a_row_of_numbers_is_blurred_along_its_only_axis():
    x = np.zeros((1, 13), np.float32)
    x[0, 6] = 1
    weight = np.exp(-0.5 * np.arange(-6, 7) ** 2)
    np.testing.assert_allclose(blurred(x, 1.0)[0], weight / weight.sum(), rtol=1e-6)
    assert row_baselines(BlurBaseline(blur=1.0), x, 0, NAMES[:1]).shape == (1, 1, 13)


def test_the_farthest_end_of_the_range():
    x = np.array([[0.0, 0.2, 0.5, 0.9, 1.0]], np.float32)
    found = row_baselines(MaxDistanceBaseline(max_distance=(0.0, 1.0)), x, 0, NAMES[:1])
    assert found.tolist() == [[[1.0, 1.0, 1.0, 0.0, 0.0]]]


def test_uniform_noise_fills_its_range():
    found = row_baselines(UniformBaseline(uniform=(-1.0, 3.0), draws=1000), rows(4), 0, NAMES)
    assert found.shape == (3, 1000, 4) and -1 <= found.min() < -0.99 and 2.99 < found.max() <= 3
    # of 12,000 draws: the mean within five standard errors
    assert abs(found.mean() - 1) < 5 * 4 / np.sqrt(12 * found.size)


@pytest.mark.parametrize("draws", [1, 4, 5])
def test_gaussian_noise_comes_in_pairs_around_the_row(draws):
    x = rows(2, 3)
    noise = row_baselines(GaussianBaseline(gaussian=0.5, draws=draws), x, 0, NAMES) - x[:, np.newaxis]
    assert noise.shape == (3, draws, 2, 3)
    for pair in range(draws // 2):
        np.testing.assert_allclose(noise[:, 2 * pair], -noise[:, 2 * pair + 1], atol=1e-6)
    many = row_baselines(GaussianBaseline(gaussian=0.5, draws=2000), x, 0, NAMES) - x[:, np.newaxis]
    # half of them are independent; the standard error of a standard deviation is σ/√(2n)
    assert abs(many.std() - 0.5) < 5 * 0.5 / np.sqrt(many.size)


def test_numbers_depend_on_every_name_and_the_seed():
    def first(seed, *names):
        return generator(seed, *names).random()

    assert first(0, "a", "b") == first(0, "a", "b")
    assert len({first(0, "a", "b"), first(1, "a", "b"), first(0, "ab"), first(0, "a", "c"), first(0, "a/1:b")}) == 5


SINGLE = [
    {"constant": 1.0},
    {"column": "c"},
    {"blur": 2.0},
    {"max_distance": [0, 1]},
    {"uniform": [0, 1], "draws": 3},
    {"gaussian": 0.1},
    "median",
    {"samples": 3},
    "max_entropy",
    {"max_entropy": {"steps": 9}},
    ["zeros", {"blur": 1.0}],
    ["min", "max"],
]


@pytest.mark.parametrize("baseline", SINGLE, ids=str)
def test_one_baseline_is_for_every_input(baseline):
    config = AttributionConfig(baseline=baseline)
    assert set(config.baseline) == {""} and config.baseline_of("x") == config.baseline[""]
    assert AttributionConfig.model_validate(config.model_dump(mode="json")) == config
    assert AttributionConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("name", ["blur", "uniform", "constant", "column", "draws", "samples", "max_entropy"])
@pytest.mark.parametrize("baseline", SINGLE, ids=str)
def test_an_input_may_be_called_like_a_kind(name, baseline):
    config = AttributionConfig(baseline={name: baseline})
    # a text under `column` is that of a column, whatever it is called
    assert set(config.baseline) == ({""} if name == "column" and isinstance(baseline, str) else {name})
