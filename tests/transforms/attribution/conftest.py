"""`model_of`: a function as a loaded `Model`; `explainer`: an `Explainer` of it. Both are made once for all tests.

Sharing saves the tracing: a program of TensorFlow costs more than all the numbers that a test puts through it.
"""

import pytest
from models import save_function

from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.model import load_model


@pytest.fixture(scope="session")
def model_of(tmp_path_factory):
    """model_of(function, activation=None, **specs) → Model; the same arguments give the same object."""
    known = {}

    def load_once(function, activation=None, variables=(), **specs):
        key = (function, activation, str(specs))
        if key not in known:
            path = save_function(tmp_path_factory.mktemp("model") / "saved", function, variables, **specs)
            known[key] = load_model(ModelConfig(path=path, activation=activation))
        return known[key]

    return load_once


@pytest.fixture(scope="session")
def explainer():
    """explainer(model, **AttributionConfig fields) → Explainer; the same arguments give the same object."""
    known = {}

    def make_once(model, **fields):
        config = AttributionConfig(**fields)
        key = (id(model), config.model_dump_json())
        if key not in known:
            known[key] = Explainer(model, config)
        return known[key]

    return make_once
