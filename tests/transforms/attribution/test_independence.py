"""What a row gets depends on the row alone: not on the batch size, its neighbours, their order, or the stream."""

import dataclasses

import models
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.attribution.batch import Batch

N, ROWS = 6, 13
X = ([None, N], "float32")
# from almost linear to saturated: some rows are done at the second level, some four levels later
SCALE = np.geomspace(0.2, 20, ROWS)[:, np.newaxis]
FIELDS = {"auto": {}, "fixed": {"steps": 5}}


def rows(dtype="float32", seed=0):
    return (np.random.default_rng(seed).normal(size=(ROWS, N)) * SCALE).astype(dtype)


@dataclasses.dataclass
class Case:
    """A model, and rows for it."""

    function: object
    specs: dict
    inputs: dict
    baselines: dict = dataclasses.field(default_factory=dict)

    def model(self, model_of):
        return model_of(self.function, **self.specs)

    def batch(self, chosen):
        inputs, baselines = ({n: v[chosen] for n, v in part.items()} for part in (self.inputs, self.baselines))
        return Batch(inputs, None, baselines)


DOUBLES = ([None, N], "float64")
A_AND_B = {"a": rows(), "b": rows(seed=1)[:, :4] / 10}
CASES = {
    "smooth": Case(models.mlp, {"x": X}, {"x": rows()}),
    "row baselines": Case(models.mlp, {"x": X}, {"x": rows()}, {"x": rows(seed=3) / 20}),
    "double": Case(models.mlp, {"x": DOUBLES}, {"x": rows("float64")}),
    "stem": Case(models.narrowing, {"x": X}, {"x": rows()}),
    "stem, row baselines": Case(models.narrowing, {"x": X}, {"x": rows()}, {"x": rows(seed=3) / 20}),
    "stem not hoisted": Case(models.narrowing, {"x": X, "hoist": False}, {"x": rows()}),
    "two inputs": Case(models.two_narrowing, {"a": X, "b": ([None, 4], "float32")}, A_AND_B),
    "held": Case(models.gated, {"x": X, "ids": ([None], "int64")}, {"x": rows(), "ids": np.arange(ROWS) % 3}),
}
FIXED = {f"batch of {n}": Case(models.mlp, {"x": ([n, N], "float32")}, {"x": rows()}) for n in (1, 3, 4)}
SIZES = [("smooth", 1), ("stem", 1), *((name, size) for name in CASES for size in (3, 7, 64, "auto"))]
SIZES += [(name, "auto") for name in FIXED]


def joined(explanations):
    """(attributions of all inputs, [rows, values], steps) of explanations one after another."""
    found = list(explanations)
    flat = [
        np.concatenate([value.reshape(len(part), -1) for value in part.attributions.values()], axis=1) for part in found
    ]
    return np.concatenate(flat), np.concatenate([part.steps for part in found])


def pieces(order, sizes):
    """The order, cut into these sizes, again and again."""
    ends = np.cumsum(np.resize(sizes, len(order)))
    return [part for part in np.split(order, ends[ends < len(order)]) if len(part)]


def assert_same(found, expected, order=slice(None)):
    # other batch sizes take other kernels of the matrix product: a few roundings of float32 relative to the largest
    limit = 1e-6 * np.abs(expected[0]).max(axis=1, keepdims=True)
    assert (np.abs(found[0] - expected[0][order]) <= limit[order]).all()
    assert np.array_equal(found[1], expected[1][order])


@pytest.mark.parametrize("steps", FIELDS)
@pytest.mark.parametrize(("name", "size"), SIZES)
def test_the_batch_size_the_neighbours_and_the_stream_change_nothing(model_of, fresh, name, size, steps):
    case = (CASES | FIXED)[name]
    model, fields = case.model(model_of), FIELDS[steps] | {"target": "predicted"}
    everything, order = np.arange(ROWS), np.random.default_rng(1).permutation(ROWS)
    expected = joined(fresh(model, **fields).stream([case.batch(everything)]))
    assert np.abs(expected[0]).max(axis=1).all()
    assert len(set(expected[1])) >= (3 if steps == "auto" else 1)
    engine = fresh(model, **fields, batch_size=size)

    def explained(parts):
        return joined(engine.stream(case.batch(part) for part in parts))

    assert_same(explained([everything]), expected)
    assert_same(explained([order]), expected, order)
    assert_same(explained(pieces(order, [2, 5, 1])), expected, order)
    assert_same(explained(pieces(everything, [1])), expected)
    alone = [explained([[row]]) for row in everything]
    assert_same((np.concatenate([a for a, _ in alone]), np.concatenate([s for _, s in alone])), expected)
    stragglers = np.concatenate([[ROWS - 1] * 4, everything, [ROWS - 1] * 4])
    assert_same(explained([stragglers]), expected, stragglers)


@settings(max_examples=15, deadline=None)
@given(
    order=st.permutations(range(ROWS)),
    sizes=st.lists(st.integers(1, ROWS), min_size=1, max_size=5),
    size=st.integers(1, 200),
)
@pytest.mark.parametrize("name", ["smooth", "stem"])
def test_any_order_any_stream_any_batch_size(model_of, explainer, name, order, sizes, size):
    case = CASES[name]
    # one explainer a case: its first calls compile nothing new, for its batch size is data to the program
    engine = explainer(case.model(model_of), target="predicted")
    expected = joined(engine.stream([case.batch(np.arange(ROWS))]))
    for compute in engine._computes:
        compute.batching.points = size
    order = np.array(order)
    assert_same(joined(engine.stream(case.batch(part) for part in pieces(order, sizes))), expected, order)


@pytest.mark.parametrize("steps", FIELDS)
def test_a_stem_changes_no_value(model_of, fresh, steps):
    whole, cut = (CASES[name].model(model_of) for name in ("stem not hoisted", "stem"))
    assert cut.stem and not whole.stem
    found, expected = (
        joined(fresh(model, **FIELDS[steps], target="predicted").stream([CASES["stem"].batch(slice(None))]))
        for model in (cut, whole)
    )
    assert_same(found, expected)


def test_a_double_model_agrees_with_a_single_one(model_of, fresh):
    single, double = (
        fresh(CASES[name].model(model_of), steps=5, target="predicted").explain(CASES[name].inputs)
        for name in ("smooth", "double")
    )
    # the rows are the same but for the rounding of x, which saturated rows carry on by what tanh'' makes of it
    error = np.abs(single.attributions["x"] - double.attributions["x"]).max(axis=1)
    assert (error <= 1e-5 * np.abs(double.attributions["x"]).max(axis=1)).all()
    assert error.any()
