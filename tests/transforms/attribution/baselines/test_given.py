"""Where the path starts: every form of a baseline, in the configuration and given by the caller."""

import numpy as np
import pytest
from models import EPS, product
from pydantic import ValidationError

from transforms.attribution.baseline_config import ColumnBaseline, ConstantBaseline
from transforms.attribution.baselines import given as base
from transforms.attribution.config import AttributionConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.model.model_input import ModelInput
from transforms.errors import UsageError

N, ROWS = 4, 3
PAIR = {"a": ([None, N], "float32"), "b": ([None, N], "float32")}
FLOAT = np.dtype("float32")
IMAGE = ModelInput("image", (2, 2, 3), FLOAT, FLOAT, True)
AGE = ModelInput("age", (1,), FLOAT, FLOAT, True)
TOKEN = ModelInput("token", (5,), np.dtype("int64"), np.dtype("int64"), False)


def pair(seed=0):
    random = np.random.default_rng(seed)
    return {name: random.normal(size=(ROWS, N)).astype(np.float32) for name in PAIR}


def expected(inputs, starts):
    """Attributions of Σ aᵢ bᵢ, float64: (a − a′)(b + b′)/2, and the other way round."""
    a, b, a0, b0 = (
        np.broadcast_to(np.asarray(side[name], np.float64), (ROWS, N)) for side in (inputs, starts) for name in "ab"
    )
    return {"a": (a - a0) * (b + b0) / 2, "b": (b - b0) * (a + a0) / 2}, (a0 * b0).sum(axis=1)


def assert_starts_at(found, inputs, starts):
    attributions, output = expected(inputs, starts)
    # numbers below 10, their product below 100, some ten roundings
    for name in "ab":
        np.testing.assert_allclose(found.attributions[name], attributions[name], rtol=0, atol=100 * 10 * EPS)
    np.testing.assert_allclose(found.baseline_output, output, rtol=0, atol=100 * 10 * EPS)


@pytest.mark.parametrize(
    ("baseline", "starts"),
    [
        ("zeros", {"a": 0, "b": 0}),
        ({"constant": 1.5}, {"a": 1.5, "b": 1.5}),
        ({"constant": [1, 2, 3, 4]}, {"a": [1, 2, 3, 4], "b": [1, 2, 3, 4]}),
        ({"constant": [2]}, {"a": [2], "b": [2]}),
        ({"a": {"constant": 1}}, {"a": 1, "b": 0}),
        ({"a": "zeros", "b": {"constant": [0, 1, 0, -1]}}, {"a": 0, "b": [0, 1, 0, -1]}),
    ],
)
def test_a_configured_baseline(model_of, explainer, baseline, starts):
    inputs = pair()
    found = explainer(model_of(product, **PAIR), steps=3, baseline=baseline).explain(inputs)
    assert_starts_at(found, inputs, starts)


@pytest.mark.parametrize(
    "shape", [(), (1,), (N,), (1, N), (ROWS, N)], ids=["number", "broadcast", "one", "one row", "one a row"]
)
def test_a_given_baseline(model_of, explainer, shape):
    inputs = pair()
    random = np.random.default_rng(1)
    starts = {"a": random.normal(size=shape), "b": random.normal(size=shape)}
    engine = explainer(model_of(product, **PAIR), steps=3)
    assert_starts_at(engine.explain(inputs, baselines=starts), inputs, starts)


def test_what_is_not_given_follows_the_configuration(model_of, explainer):
    inputs = pair()
    engine = explainer(model_of(product, **PAIR), steps=3, baseline={"constant": 0.5})
    assert_starts_at(engine.explain(inputs, baselines={"a": 2.0}), inputs, {"a": 2, "b": 0.5})
    # and what was given once is forgotten
    assert_starts_at(engine.explain(inputs), inputs, {"a": 0.5, "b": 0.5})


def test_a_column_is_given_row_by_row_or_missed(model_of, explainer):
    inputs, starts = pair(), pair(1)
    engine = explainer(model_of(product, **PAIR), steps=3, baseline={"a": {"column": "before"}})
    assert base.columns(engine.config, engine.model.inputs) == {"a": "before"}
    found = engine.explain(inputs, baselines={"a": starts["a"]})
    assert_starts_at(found, inputs, {"a": starts["a"], "b": 0})
    with pytest.raises(UsageError, match="E_BASELINE_MISSING: the baseline of 'a'"):
        engine.explain(inputs)


def test_one_column_for_every_input():
    config = AttributionConfig(baseline={"column": "before"})
    assert base.columns(config, (IMAGE, AGE, TOKEN)) == {"image": "before", "age": "before"}


@pytest.mark.parametrize(
    ("baseline", "code"),
    [
        ({"constant": [1, 2]}, "E_BASELINE_SHAPE"),
        ({"image": {"constant": [1, 2]}}, "E_BASELINE_SHAPE"),
        ({"image": {"constant": [[1, 2], [3]]}}, "E_BASELINE_DTYPE"),
        ({"image": {"constant": [[[[1, 2, 3]]]]}}, "E_BASELINE_SHAPE"),
        ({"age": {"constant": ["old"]}}, "E_BASELINE_DTYPE"),
        ({"agee": "zeros"}, "E_BASELINE_INPUT"),
        ({"token": "zeros"}, "E_BASELINE_INPUT"),
    ],
)
def test_a_configured_baseline_that_does_not_fit_is_refused(baseline, code):
    with pytest.raises(UsageError) as refused:
        base.check_baselines(AttributionConfig(baseline=baseline), (IMAGE, AGE, TOKEN))
    assert refused.value.code == code


def test_the_explainer_refuses_before_it_computes(model_of):
    with pytest.raises(UsageError, match=r"E_BASELINE_SHAPE: the baseline of 'a' has the shape \(3,\)"):
        Explainer(model_of(product, **PAIR), AttributionConfig(baseline={"a": {"constant": [1, 2, 3]}}))


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (np.zeros((2, N)), "E_BASELINE_SHAPE"),
        (np.zeros(N + 1), "E_BASELINE_SHAPE"),
        (np.zeros((ROWS, N, 1)), "E_BASELINE_SHAPE"),
        (["a"] * N, "E_BASELINE_DTYPE"),
        (np.full(N, None), "E_BASELINE_DTYPE"),
    ],
)
def test_a_given_baseline_that_does_not_fit_is_refused(model_of, explainer, value, code):
    with pytest.raises(UsageError) as refused:
        explainer(model_of(product, **PAIR), steps=3).explain(pair(), baselines={"a": value})
    assert refused.value.code == code


def test_a_given_baseline_of_no_input_is_refused(model_of, explainer):
    with pytest.raises(UsageError, match="E_INPUT_NAME"):
        explainer(model_of(product, **PAIR), steps=3).explain(pair(), baselines={"c": 0.0})


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("zeros", {"": "zeros"}),
        ({"constant": 1}, {"": ConstantBaseline(constant=1)}),
        ({"constant": [[1.0], [2.0]]}, {"": ConstantBaseline(constant=[[1.0], [2.0]])}),
        ({"column": "before"}, {"": ColumnBaseline(column="before")}),
        # inputs of the names `constant` and `column`
        ({"constant": "zeros"}, {"constant": "zeros"}),
        ({"constant": {"constant": 2}}, {"constant": ConstantBaseline(constant=2)}),
        ({"column": {"column": "before"}}, {"column": ColumnBaseline(column="before")}),
        ({"constant": "zeros", "column": "zeros"}, {"constant": "zeros", "column": "zeros"}),
        ({"x": {"column": "before"}, "y": "zeros"}, {"x": ColumnBaseline(column="before"), "y": "zeros"}),
    ],
)
def test_every_way_to_write_it_is_kept_by_input_and_survives_json(written, kept):
    config = AttributionConfig(baseline=written)
    assert config.baseline == kept
    assert AttributionConfig(**config.model_dump(mode="json")) == config
    assert AttributionConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("written", ["ones", 0, {"x": "ones"}, {"x": {"konstant": 1}}, {"x": {"column": 3}}, None])
def test_what_is_no_baseline_is_refused(written):
    with pytest.raises(ValidationError, match="baseline"):
        AttributionConfig(baseline=written)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"target": "label", "rule": "riemann_trapezoid", "steps": 2, "batch_size": 64},
        {"target": 3, "tolerance": 1e-3, "seed": 9, "baseline": {"x": {"constant": [0.5]}}},
    ],
)
def test_the_configuration_survives_json(fields):
    config = AttributionConfig(**fields)
    assert AttributionConfig.model_validate_json(config.model_dump_json()) == config
    assert AttributionConfig(**config.model_dump(mode="json")) == config
    assert config == AttributionConfig() or fields
