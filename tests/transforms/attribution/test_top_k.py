"""`target: {top_k: k}`: each row's k largest outputs, explained over the same points."""

import models
import numpy as np
import pytest
import tensorflow as tf

from transforms.attribution.batch import Batch

N, ROWS, CLASSES = 6, 9, 3
X = ([None, N], "float32")


def rows(count=ROWS):
    scale = np.geomspace(0.2, 20, count)[:, np.newaxis]
    return (np.random.default_rng(0).normal(size=(count, N)) * scale).astype(np.float32)


def top(k, **fields):
    return {"target": {"top_k": k}} | fields


def by_target(explanation, k):
    return explanation.attributions["x"].reshape(-1, k, N)


@pytest.mark.parametrize("function", [models.mlp, models.narrowing])
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("size", ["auto", 1, 7, 64])
def test_the_values_are_those_of_each_target_on_its_own(model_of, fresh, function, k, size):
    model, x = model_of(function, x=X), rows()
    single = [fresh(model, steps=5, target=target, batch_size=size).explain(x) for target in range(CLASSES)]
    found = fresh(model, **top(k, steps=5, batch_size=size)).explain(x)
    table = np.stack([part.output for part in single], axis=1)
    order = np.argsort(-table, axis=1)[:, :k]
    assert found.rows.tolist() == np.repeat(np.arange(ROWS), k).tolist()
    assert found.target_rank.tolist() == list(range(k)) * ROWS and found.target_rank.dtype == np.int32
    assert found.target.tolist() == order.ravel().tolist()
    assert len({tuple(part) for part in order}) > 1, "the same order for all rows would prove little"
    row = np.repeat(np.arange(ROWS), k)
    assert np.array_equal(found.output, table[row, found.target])
    wanted = np.stack([part.attributions["x"] for part in single], axis=1)[row, found.target]
    # one forward pass serves all targets: another sum of the same terms
    limit = 1e-6 * np.abs(wanted).max(axis=1, keepdims=True)
    assert (np.abs(found.attributions["x"] - wanted) <= limit).all()
    for name in ("delta", "relative_delta"):
        assert getattr(found, name).shape == (ROWS * k,)


def test_a_row_takes_the_steps_of_its_hardest_target(model_of, fresh):
    model, x = model_of(models.mlp, x=X), rows()
    single = np.array([fresh(model, target=target).explain(x).steps for target in range(CLASSES)])
    found = fresh(model, **top(CLASSES)).explain(x)
    # all have to be within the tolerance at the same level: what one had reached earlier, it may have left again
    steps = found.steps.reshape(ROWS, CLASSES)
    assert (steps == steps[:, :1]).all() and (steps[:, 0] >= single.max(axis=0)).all()
    assert np.mean(steps[:, 0] == single.max(axis=0)) > 0.5 and (single != single[0]).any()
    assert set(found.status) == {"ok"}


def test_the_neighbours_and_the_stream_change_nothing(model_of, fresh):
    model, x = model_of(models.narrowing, x=X), rows()
    expected = fresh(model, **top(2)).explain(x)
    for size in (3, 64, "auto"):
        parts = list(fresh(model, **top(2, batch_size=size)).stream(Batch({"x": part}) for part in np.split(x, [1, 5])))
        assert [part.rows.tolist() for part in parts] == [
            np.repeat(np.arange(count), 2).tolist() for count in (1, 4, 4)
        ]
        assert np.concatenate([part.steps for part in parts]).tolist() == expected.steps.tolist()
        found = np.concatenate([part.attributions["x"] for part in parts])
        limit = 1e-6 * np.abs(expected.attributions["x"]).max(axis=1, keepdims=True)
        assert (np.abs(found - expected.attributions["x"]) <= limit).all()


def tied(x):
    first = tf.reduce_sum(x, axis=1)
    return tf.stack([0 * first, first, first, -first], axis=1)


def test_of_equal_outputs_the_first_comes_first(model_of, fresh):
    x = np.float32([[1] * N, [-1] * N])
    found = fresh(model_of(tied, x=X), **top(3)).explain(x)
    assert found.target.reshape(2, 3).tolist() == [[1, 2, 0], [3, 0, 1]]


def test_each_target_has_its_own_status(model_of, fresh):
    found = fresh(model_of(tied, x=X), **top(4)).explain(np.ones((1, N), np.float32))
    assert found.target.tolist() == [1, 2, 0, 3]
    assert found.status.tolist() == ["ok", "ok", "flat", "ok"] and found.steps.tolist() == [4] * 4
    assert by_target(found, 4)[0, 3].tolist() == [-1] * N


@pytest.mark.parametrize("target", [0, "predicted", "label"])
def test_one_target_has_no_rank(model_of, fresh, target):
    labels = 1 if target == "label" else None
    assert fresh(model_of(models.mlp, x=X), target=target, steps=3).explain(rows(), labels).target_rank is None
