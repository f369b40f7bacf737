"""A user's scalar function of a model's output: loaded, and tried before anything is computed with it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from transforms.attribution.model.user_code import load_function
from transforms.errors import UsageError

Values = npt.NDArray[Any]

TRIED_ROWS = 3
# What a function in TensorFlow raises about what it is given; the rest is not about our values.
FAULTS = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, tf.errors.OpError)


def load(reference: str, shape: tuple[int | None, ...], dtype: Any, trusted: Collection[str]) -> Callable[[Any], Any]:
    """The function that `module:function` names: [batch, *shape] → [batch], of the same type.

    Args:
        shape: of the output of one example; None for a size that is left open.
        dtype: float32 or float64.
        trusted: modules that may be imported.

    Raises:
        UsageError: E_CODE_*; E_TARGET_FUNCTION when it fails, gives something else, has no gradient, or mixes rows.
    """
    function = load_function(reference, trusted)

    def checked(value: Any) -> Any:
        result = tf.convert_to_tensor(function(value))
        if result.shape.rank != 1 or result.dtype != dtype:
            raise _refused(reference, f"gives {result.dtype.name} {result.shape}, not {dtype.name} [batch]")
        return result

    def with_gradient(value: Any) -> tuple[Any, Any]:
        result = checked(value)
        (gradient,) = tf.gradients(result, [value])
        if gradient is None:
            raise _refused(reference, "has no gradient by the model's output; argmax and rounding have none")
        return result, gradient

    spec = tf.TensorSpec((None, *shape), dtype)
    try:
        traced = tf.function(with_gradient, input_signature=[spec], autograph=False).get_concrete_function()
        sizes = [size for size in shape if size is not None]
        if len(sizes) == len(shape):
            rows = np.random.default_rng(0).uniform(0.1, 0.9, (TRIED_ROWS, *sizes))
            _check_rows(reference, lambda value: traced(value)[0].numpy(), rows.astype(dtype.as_numpy_dtype))
    except FAULTS as error:
        raise _refused(reference, f"fails: {type(error).__name__}: {str(error)[:200]}") from error
    return checked


def _check_rows(reference: str, function: Callable[[Any], Values], rows: Values) -> None:
    """A row's value must be the same alone as among others; rounding may differ with the number of rows."""
    together, alone = function(rows), [function(rows[row : row + 1]) for row in range(len(rows))]
    if len(together) != len(rows) or any(len(one) != 1 for one in alone):
        raise _refused(reference, f"gives {len(together)} values for {len(rows)} rows, {len(alone[0])} for one")
    if not np.allclose(together, np.concatenate(alone), rtol=1e-3, equal_nan=True):
        raise _refused(reference, "gives a row another value beside other rows; reduce over all axes but the first")


def _refused(reference: str, reason: str) -> UsageError:
    return UsageError(
        "E_TARGET_FUNCTION",
        f"attribution.target's function {reference} {reason}. It takes the output, [batch, ...], in TensorFlow, and"
        " returns one number a row, [batch]",
    )
