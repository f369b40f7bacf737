"""`model_of`: a function as a loaded `Model`; `explainer`: an `Explainer` of it. Both are made once for all tests.

`fresh`: an `Explainer` that no test used before; `computed`: what its kernel is asked for. `net`: one of the nets of
`precision_nets`; `text`: a model with an embedding.

Sharing saves the tracing: a program of TensorFlow costs more than all the numbers that a test puts through it.
"""

import keras
import numpy as np
import pytest
from layer_models import kept, text_model
from models import save_function, saved_keras
from precision_nets import NETS, ROWS

from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.engine.kernel import Kernel
from transforms.attribution.explainer import Explainer
from transforms.attribution.model.model import load_model


@pytest.fixture(scope="session")
def model_of(tmp_path_factory):
    """model_of(function, activation=None, hoist=True, **specs) → Model; the same arguments give the same object."""
    known = {}

    def load_once(function, activation=None, variables=(), hoist=True, **specs):
        key = (function, activation, hoist, str(specs))
        if key not in known:
            path = save_function(tmp_path_factory.mktemp("model") / "saved", function, variables, **specs)
            known[key] = load_model(ModelConfig(path=path, activation=activation), hoist)
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


@pytest.fixture(scope="session")
def kernels():
    """Every kernel that `fresh` made so far, by its arguments."""
    return {}


@pytest.fixture
def fresh(monkeypatch, kernels):
    """fresh(model, **AttributionConfig fields) → an Explainer that learned nothing yet; kernels are shared."""

    def shared(model, *rest):
        key = (id(model), str(rest))
        if key not in kernels:
            kernels[key] = Kernel(model, *rest)
        return kernels[key]

    monkeypatch.setattr("transforms.attribution.engine.computes.Kernel", shared)
    return lambda model, **fields: Explainer(model, AttributionConfig(**fields))


@pytest.fixture
def computed(monkeypatch):
    """The paths of every call of any kernel from here on."""
    calls, gradients = [], Kernel.gradients

    def noted(kernel, paths):
        calls.append(paths)
        return gradients(kernel, paths)

    monkeypatch.setattr(Kernel, "gradients", noted)
    return calls


@pytest.fixture(scope="session")
def net(tmp_path_factory):
    """net(name, kind="keras", hoist=True) → Model, and some rows for it; the same arguments give the same."""
    known = {}

    def load_once(name, kind="keras", hoist=True):
        if (name, kind, hoist) not in known:
            keras.utils.set_random_seed(3)
            path = saved_keras(tmp_path_factory.mktemp("net"), NETS[name](), kind)
            known[name, kind, hoist] = load_model(ModelConfig(path=path), hoist=hoist)
        model = known[name, kind, hoist]
        x = np.random.default_rng(1).normal(size=(ROWS, *model.inputs[0].shape)).astype("float32")
        return model, x

    return load_once


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """The path of the text model without a mask, that of what comes after its embedding, and the table."""
    folder, (model, rest) = tmp_path_factory.mktemp("text"), text_model(mask=False)
    table = model.get_layer("embedding").get_weights()[0]
    return kept(folder / "whole", model), kept(folder / "rest", rest), table
