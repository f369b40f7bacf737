"""Input × gradient: x ⊙ ∂F(x).

No completeness, unless F is linear along the path from 0. Source: Shrikumar et al., "Not Just a Black Box: Learning
Important Features Through Propagating Activation Differences", 2016.
"""

from __future__ import annotations

from transforms.attribution.config import AttributionConfig
from transforms.attribution.methods.drawn import at_inputs, times_itself
from transforms.attribution.methods.method import Method


def method(config: AttributionConfig) -> Method:
    """The method as configured."""
    return at_inputs(config, times_itself)
