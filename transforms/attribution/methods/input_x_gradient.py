"""Input × gradient: x ⊙ ∂F(x).

No completeness, unless F is linear along the path from 0. Source: Shrikumar et al., "Not Just a Black Box: Learning
Important Features Through Propagating Activation Differences", 2016.
"""

from __future__ import annotations

import numpy as np

from transforms.attribution.methods.method import Method, one_point

METHOD = Method(levels=one_point(1.0), factor=lambda x, start: x.astype(np.float64), complete=False)
