"""Gaussian blur along the first two axes, mirrored at the borders, by what it leaves of each cosine of the row.

The cosines of the type-II transform are the eigenvectors of every blur that is mirrored at the borders; its eigenvalues
are the kernel's transform. Source: Martucci, "Symmetric Convolution and the Discrete Sine and Cosine Transforms", 1994.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
# A Gaussian is cut off at so many standard deviations: less than 1e-8 of it lies beyond, the rounding of float32.
CUT_OFF = 6.0


def blurred(rows: Values, sigma: float) -> Values:
    """Rows [rows, *shape] blurred along the first two axes of each by a Gaussian of σ pixels, in the rows' dtype."""
    found = rows.astype(np.float64)
    for axis in range(1, min(3, rows.ndim)):
        size = rows.shape[axis]
        basis = cosines(size)
        matrix = basis.T @ (left_of(size, sigma)[:, np.newaxis] * basis)
        found = np.moveaxis(np.tensordot(matrix, found, axes=(1, axis)), 0, axis)
    return found.astype(rows.dtype)


def left_of(size: int, sigma: float) -> Doubles:
    """What the blur leaves of each cosine along an axis of `size` pixels, [size]."""
    distance = np.arange(-reach(sigma), reach(sigma) + 1)
    weights = np.exp(-0.5 * (distance / sigma) ** 2)
    found: Doubles = weights @ waves(size, sigma) / weights.sum()
    return found


def cosines(size: int) -> Doubles:
    """The orthonormal cosines, [frequencies, pixels]."""
    place = np.arange(size)
    basis = np.cos(np.pi * np.outer(place, place + 0.5) / size) * np.sqrt(2 / size)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, np.float64)


def waves(size: int, sigma: float) -> Doubles:
    """What shifting by so many pixels, both ways, leaves of each cosine, [2 · reach + 1, frequencies]."""
    distance = np.arange(-reach(sigma), reach(sigma) + 1)
    return np.asarray(np.cos(np.pi * np.outer(distance, np.arange(size)) / size), np.float64)


def reach(sigma: float) -> int:
    """How many pixels to either side a blur reaches."""
    return int(np.ceil(CUT_OFF * sigma))
