"""SmoothTaylor: the mean of (x − r) ⊙ ∂F(r) over noisy copies r of the row, which are its baselines.

No completeness: a linear F gets 0, F = ½ xᵀHx gets −σ² diag H. Source: Goh et al., "Understanding Integrated
Gradients with SmoothTaylor for Deep Neural Network Attribution", ICPR 2020.
"""

from __future__ import annotations

from transforms.attribution.config import AttributionConfig
from transforms.attribution.methods.drawn import at_baselines, times_difference
from transforms.attribution.methods.method import Method


def method(config: AttributionConfig) -> Method:
    """The method as configured."""
    return at_baselines(config, times_difference)
