"""Which models `precision: bfloat16` can round, and what of them."""

import dataclasses

import models
import pytest
import tensorflow as tf

from transforms.attribution.config import AttributionConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.model.bfloat16 import rounded
from transforms.errors import UsageError


def refusal(model):
    with pytest.raises(UsageError) as caught:
        Explainer(model, AttributionConfig(target=0, precision="bfloat16"))
    assert caught.value.code == "E_PRECISION"
    assert "precision: float32" in caught.value.message
    return caught.value.message


def only_curved(x):
    return tf.sin(x)


def one_product(x):
    return tf.nn.softmax(x @ tf.ones([4, 5], x.dtype))


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_a_model_of_another_type_is_refused(model_of, dtype):
    message = refusal(model_of(models.mlp, x=([None, 6], dtype)))
    assert "(MatMul)" in message and dtype in message


@pytest.mark.parametrize(("function", "op"), [(only_curved, "(Sin"), (one_product, "(Softmax")])
def test_a_model_without_a_second_product_is_refused(model_of, function, op):
    assert "no product behind the first" in refusal(model_of(function, x=([None, 4], "float32")))


def test_a_model_that_is_all_loop_is_refused(model_of):
    message = refusal(model_of(models.looped, x=([None, 3], "float32")))
    assert "While" in message


def test_a_model_that_is_not_frozen_is_refused(model_of):
    model = model_of(models.mlp, x=([None, 6], "float32"))
    assert "no constants of one graph" in refusal(dataclasses.replace(model, frozen=False))


def test_what_is_rounded_and_what_is_not(net):
    model, _ = net("convolutions", hoist=False)
    kinds = {}
    for op in rounded(model.head.function).graph.get_operations():
        if op.outputs and op.outputs[0].dtype in (tf.float32, tf.bfloat16):
            kinds.setdefault(op.type, []).append(op.outputs[0].dtype)
    assert set(kinds["Softmax"]) == {tf.float32} and set(kinds["MatMul"]) == {tf.bfloat16}
    # the first convolution takes the points
    assert kinds["Conv2D"].count(tf.float32) == 1 and kinds["Conv2D"].count(tf.bfloat16) >= 1
    assert set(kinds["Tanh"]) == {tf.float32}
