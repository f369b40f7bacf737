"""Values that a model refuses: an id that is not in its table costs the row, a model that always fails the run."""

import models
import numpy as np
import pytest
import tensorflow as tf
from models import EPS

from transforms.attribution.engine.kernel import Kernel
from transforms.attribution.engine.refusals import TRIED, said
from transforms.errors import UsageError

N, ROWS = 6, 40
HELD = {"x": ([None, N], "float32"), "ids": ([None], "int64")}
# `gated` looks its ids up in a table of three
BAD = {0: 3, 7: -1, 8: 99, ROWS - 1: 2**40}


def inverse(x):
    """F = Σ 1/x, which asserts that it is finite."""
    return tf.reduce_sum(tf.debugging.check_numerics(1 / x, "no zeros, please"), axis=1, keepdims=True)


def broken(x):
    """Nothing: it looks up what is not there, whatever x is."""
    return mean_of(x) * tf.gather(tf.constant([1.0]), tf.cast(tf.sign(mean_of(x)), tf.int32) ** 2 + 7)


def mean_of(x):
    return tf.reduce_mean(x, axis=1, keepdims=True)


def inputs(bad=BAD, count=ROWS):
    ids = np.arange(count) % 3
    for row, value in bad.items():
        ids[row] = value
    return {"x": np.random.default_rng(0).normal(size=(count, N)).astype(np.float32), "ids": ids}


@pytest.fixture
def calls(monkeypatch):
    """Rows or slots of each call of any kernel from here on."""
    sizes = []

    def note(real):
        def noted(kernel, fed):
            sizes.append(len(fed.target) if hasattr(fed, "target") else len(fed[0]))
            return real(kernel, fed)

        return noted

    for name in ("forward", "gradients"):
        monkeypatch.setattr(Kernel, name, note(getattr(Kernel, name)))
    return sizes


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"steps": 5, "batch_size": 16},
        {"steps": 5, "batch_size": 1},
        {"target": 1, "method": "saliency"},  # F comes with the gradient: that is where the row fails
        {"target": 1, "method": "guided_integrated_gradients", "steps": 4},
        {"noise": {"kind": "smoothgrad", "draws": 2, "sigma": 0.1}, "steps": 3},
        {"target": {"top_k": 2}, "precision": "bfloat16"},
    ],
    ids=str,
)
def test_a_row_with_an_id_that_is_not_there_is_set_apart(model_of, fresh, fields):
    model, fields = model_of(models.gated, **HELD), {"target": "predicted"} | fields
    expected = fresh(model, **fields).explain(inputs({}))
    engine = fresh(model, **fields)
    found = engine.explain(inputs())
    assert list(found.faults) == list(BAD) and {fault.code for fault in found.faults.values()} == {
        "E_MODEL_INPUT_VALUE"
    }
    assert "= 99 is not in [0, 3), at " in found.faults[8].message and "GatherV2" in found.faults[8].message
    among = ~np.isin(expected.rows, list(BAD))
    assert found.rows.tolist() == expected.rows[among].tolist()
    values = expected.attributions["x"][among]
    # calls of other sizes take other kernels of the matrix product: a few roundings of float32; bfloat16 has 8 bits
    limit = 8 * (2**16 * EPS if "precision" in fields else EPS) * np.abs(values).max(axis=1, keepdims=True)
    assert (np.abs(found.attributions["x"] - values) <= limit).all()
    # not for lack of memory: calls are as large as before
    assert engine.take_out_of_memory() == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": 4},
        {"method": "smooth_taylor", "baseline": {"gaussian": 0.1, "draws": 2}},
        {"method": "guided_integrated_gradients", "steps": 4},
    ],
    ids=str,
)
def test_full_calls_give_the_same_bits_beside_refused_rows(model_of, fresh, fields):
    engine = fresh(model_of(models.gated, **HELD), target=1, batch_size=8, **fields)
    expected, found = engine.explain(inputs({})), engine.explain(inputs())
    among = ~np.isin(expected.rows, list(BAD))
    for name in ("delta", "output", "steps"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)[among]), name
    assert np.array_equal(found.attributions["x"], expected.attributions["x"][among])


def test_one_bad_row_costs_few_calls(model_of, fresh, calls):
    engine = fresh(model_of(models.gated, **HELD), target=1, steps=4)
    engine.explain(inputs({}))
    before = len(calls)
    engine.explain(inputs({}))
    usual, calls[:] = len(calls) - before, []
    engine.explain(inputs({5: 9}))
    # F at the row and at its baseline: each fails in a call of every size down to 1, and so does its other half not
    assert len(calls) <= usual + 2 * 2 * np.ceil(np.log2(ROWS))


def test_rows_are_to_blame_where_zeros_can_be_computed(model_of, fresh):
    """More rows than are tried, and all of the first ones."""
    bad = dict.fromkeys(range(TRIED + 3), 5)
    found = fresh(model_of(models.gated, **HELD), target=1).explain(inputs(bad))
    assert list(found.faults) == list(bad) and len(found) == ROWS - len(bad)


def test_rows_are_to_blame_where_others_can_be_computed(model_of, fresh):
    """Zeros cannot: F = Σ 1/x, from 1/2 to x."""
    x = np.random.default_rng(0).uniform(1, 2, size=(ROWS, N)).astype(np.float32)
    x[0, 2] = x[3, 1] = 0
    found = fresh(model_of(inverse, x=HELD["x"]), baseline={"constant": 0.5}, tolerance=0.1).explain(x)
    assert list(found.faults) == [0, 3] and len(found) == ROWS - 2
    assert "no zeros, please : Tensor had Inf" in found.faults[0].message


@pytest.mark.parametrize("fields", [{}, {"batch_size": 4, "steps": 2}], ids=str)
def test_a_model_that_always_fails_fails_fast(model_of, fresh, calls, fields):
    engine = fresh(model_of(broken, x=HELD["x"]), **fields)
    with pytest.raises(
        UsageError, match=rf"E_MODEL_INPUT_VALUE: not one of the first {TRIED} rows, nor zeros: .* 8 is"
    ):
        engine.explain(inputs()["x"] + 9)
    # down to one row, then as many calls as a tree has nodes that has the rows for its leaves, and zeros
    assert len(calls) <= np.ceil(np.log2(ROWS)) + 2 * TRIED


def test_a_baseline_that_is_refused_is_the_fault_of_no_row(model_of, fresh):
    with pytest.raises(UsageError, match=r"E_MODEL_INPUT_VALUE: at the baseline, the model cannot .*no zeros, please"):
        fresh(model_of(inverse, x=HELD["x"]), baseline="zeros").explain(1 + inputs()["x"] ** 2)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            'Graph execution error:\n\nDetected at node a defined at (most recent call last):\n  File "/code/x.py"'
            ", line 9, in <module>\n\nindices[1,1] = 99 is not in [0, 9)\n\t [[{{node a}}]] [Op:__inference_1]",
            "indices[1,1] = 99 is not in [0, 9), at a",
        ),
        (
            "{{function_node __inference_1}} too large : Tensor had Inf values\n\t [[{{node C}}]] [Op:__inference_1]",
            "too large : Tensor had Inf values, at C",
        ),
        ("{{function_node a}} indices[1] = 9 is not in [0, 9) [Op:GatherV2]", "indices[1] = 9 is not in [0, 9)"),
        ('File "/code/x.py"', ""),
        ("x" * 10_000 + "\n\t [[{{node " + "y" * 10_000 + "}}]]", "x" * 200 + ", at " + "y" * 80),
    ],
)
def test_what_tensorflow_says_is_cited_without_the_machine(message, expected):
    assert said(tf.errors.InvalidArgumentError(None, None, message)) == expected
