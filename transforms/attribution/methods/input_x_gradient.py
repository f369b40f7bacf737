"""Input × gradient: x ⊙ ∂F(x).

No completeness, unless F is linear along the path from 0. Source: Shrikumar et al., "Not Just a Black Box: Learning
Important Features Through Propagating Activation Differences", 2016.
"""

from __future__ import annotations

import numpy as np

from transforms.attribution.config import AttributionConfig
from transforms.attribution.methods.method import Method, one_point


def method(config: AttributionConfig) -> Method:
    """The method as configured."""
    return Method(one_point(1.0), complete=False, factor=lambda x, start: x.astype(np.float64), only="input")
