"""Explanations of a model's layer, and how close two of them must be."""

import numpy as np
from models import EPS

from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.explainer import Explainer

STEPS = 8
# a sum of eight weighted gradients, each with about 16 roundings behind it, of at most 2^-24 of the largest |A|
SAME = (STEPS + 16) * EPS / 2


def explained(path, inputs, layer=None, target=1, **fields):
    config = AttributionConfig(**{"steps": STEPS, "target": target} | fields)
    return Explainer.load(ModelConfig(path=path, layer=layer), config).explain(inputs)


def assert_close(found, expected, scale=1.0):
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=scale * SAME * np.abs(expected).max())
