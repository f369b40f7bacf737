"""A user's scalar function is tried before it is used: shape, type, gradient, and rows that leave each other alone."""

import numpy as np
import pytest
import tensorflow as tf

from transforms.attribution.model import scalar_function
from transforms.errors import UsageError

SOURCE = """
import tensorflow as tf

def entropy(output):
    return -tf.reduce_sum(output * tf.math.log(output), axis=1)

def first_of_many(output):
    return output[:, 7, 0]

def everything(output):
    return tf.reduce_sum(output)

def per_class(output):
    return output

def whole(output):
    return tf.cast(output[:, 0], tf.int64)

def in_half(output):
    return tf.cast(output[:, 0], tf.float16)

def predicted(output):
    return tf.cast(tf.argmax(output, axis=1), output.dtype)

def centred(output):
    return output[:, 0] - tf.reduce_mean(output[:, 0])

def doubled(output):
    return tf.concat([output[:, 0], output[:, 1]], axis=0)

def too_far(output):
    return output[:, 3]

def in_python(output):
    return output[:, 0] if output[0, 0] > 0 else output[:, 1]

def two(output, more):
    return output[:, 0]

def wrong(output):
    return output.no_such_thing
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """load(name, shape, dtype) of the module above, which lies in the current directory."""
    (tmp_path / "scalars.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)

    def loaded(name, shape=(3,), dtype=tf.float32):
        return scalar_function.load(f"scalars:{name}", shape, dtype, ["scalars"])

    return loaded


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_a_function_that_fits(load, dtype):
    table = np.array([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]])
    found = load("entropy", dtype=dtype)(tf.constant(table, dtype)).numpy()
    # six roundings of terms below 1
    np.testing.assert_allclose(found, [1.5 * np.log(2), np.log(3)], rtol=0, atol=6 * np.finfo(np.float32).eps)
    assert found.dtype == dtype.as_numpy_dtype


def test_an_open_size_is_not_guessed(load):
    values = tf.reshape(tf.range(18.0), [1, 9, 2])
    assert load("first_of_many", (None, 2))(values).numpy().tolist() == [14.0]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("everything", r"gives float32 \(\)"),
        ("per_class", r"gives float32 \(None, 3\)"),
        ("whole", "gives int64"),
        ("in_half", "gives float16"),
        ("predicted", "has no gradient"),
        ("centred", "gives a row another value beside other rows"),
        ("doubled", "gives 6 values for 3 rows, 2 for one"),
        ("too_far", "fails: "),
        ("in_python", "fails: OperatorNotAllowedInGraphError"),
        ("two", "fails: TypeError"),
        ("wrong", "fails: AttributeError"),
    ],
)
def test_a_function_that_does_not_fit(load, name, says):
    with pytest.raises(UsageError, match=rf"E_TARGET_FUNCTION: attribution.target's function scalars:{name} {says}"):
        load(name)
