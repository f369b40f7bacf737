"""Expected gradients: the mean of (x − x′) ⊙ ∂F(x′ + α(x − x′)) over baselines x′ and α, a new α for each.

The k-th of m baselines has its α drawn from one of m equal parts of the path: stratified, which leaves the mean as it
is and makes its error smaller. Source: Erion et al., "Improving Performance of Deep Learning Models with Axiomatic
Attribution Priors and Expected Gradients", Nature Machine Intelligence 2021.
"""

from __future__ import annotations

from transforms.attribution.config import AttributionConfig
from transforms.attribution.methods.drawn import between_ends
from transforms.attribution.methods.method import Method


def method(config: AttributionConfig) -> Method:
    """The method as configured."""
    return between_ends(config)
