"""Layers and baselines of them that cannot be explained, and what is said of them."""

import numpy as np
import pytest
from explained_layers import explained
from layer_models import (
    IDS,
    TOKENS,
    WIDTH,
    kept,
    refusing,
)
from models import with_embedding

from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.model import freezing
from transforms.attribution.model.model import load_model
from transforms.errors import UsageError


def refusal(path, layer, **fields):
    with pytest.raises(UsageError) as caught:
        load_model(ModelConfig(path=path, layer=layer, **fields))
    assert caught.value.code == "E_MODEL_LAYER"
    return caught.value.message


def test_layers_that_cannot_be_explained(tmp_path):
    model = refusing()
    path = kept(tmp_path, model)
    ops = {type(one).__name__: one.name for one in reversed(model.operations)}
    assert "used 2 times" in refusal(path, "twice", output="wanted")
    assert "gives no tensor, but a" in refusal(path, ops["Unstack"], output="wanted")
    assert "gives int32" in refusal(path, ops["Cast"], output="wanted")
    assert "nothing that the explained output depends on" in refusal(path, "aside", output="wanted")
    assert "is an input" in refusal(path, "x", output="wanted")
    assert "near are ['twice'" in refusal(path, "twic", output="wanted")
    turned = load_model(ModelConfig(path=path, layer=ops["Transpose"], output="wanted"))
    with pytest.raises(UsageError, match=r"E_MODEL_LAYER: .*gives \[4, 3\] for 3 rows"):
        Explainer(turned, AttributionConfig(steps=1)).explain(np.ones((2, 4), np.float32))


def test_ops_that_cannot_be_explained(tmp_path):
    path = kept(tmp_path, with_embedding(False), "exported")
    assert "is the end of 3 names, near are" in refusal(path, "ReadVariableOp")
    assert "is no op of the model's graph, near are" in refusal(path, "GatherV3")
    assert "lists them" in refusal(path, "")
    assert "gives int32" in refusal(path, "tokens")


def test_a_model_that_cannot_be_frozen_has_no_layers(text, monkeypatch):
    monkeypatch.setattr(freezing, "MAX_FROZEN_BYTES", 0)
    assert "cannot be cut" in refusal(text[0], "embedding")
    with pytest.raises(UsageError, match="E_MODEL_NOT_DIFFERENTIABLE") as caught:
        load_model(ModelConfig(path=text[0]))
    assert "model.layer: " not in caught.value.message


@pytest.mark.parametrize(
    ("layer", "baseline", "code"),
    [
        ("embedding", {"column": "start"}, "E_BASELINE_INPUT"),
        ("embedding", {"input": 0.5}, "E_BASELINE_DTYPE"),
        ("embedding", {"input": [[1], [1, 2]]}, "E_BASELINE_DTYPE"),
        ("embedding", {"input": [1, 2, 3]}, "E_BASELINE_SHAPE"),
        ("embedding", {"constant": [1, 2]}, "E_BASELINE_SHAPE"),
        ("embedding", {"ids": {"constant": 0}}, "E_BASELINE_INPUT"),
    ],
)
def test_baselines_that_do_not_fit(text, layer, baseline, code):
    with pytest.raises(UsageError) as caught:
        explained(text[0], IDS, layer, baseline=baseline)
    assert caught.value.code == code


def test_a_value_of_the_input_is_for_layers(text):
    with pytest.raises(UsageError, match=r"E_BASELINE_INPUT: .*without model\.layer"):
        explained(text[1], np.ones((1, TOKENS, WIDTH), np.float32), baseline={"input": 0})
