"""Expected gradients: the mean of (x − x′) ⊙ ∂F(x′ + α(x − x′)) over baselines x′ and α, a new α for each.

The k-th of m baselines has its α drawn from one of m equal parts of the path: stratified, which leaves the mean as it
is and makes its error smaller. Source: Erion et al., "Improving Performance of Deep Learning Models with Axiomatic
Attribution Priors and Expected Gradients", Nature Machine Intelligence 2021.
"""

from __future__ import annotations

from transforms.attribution.config import AttributionConfig
from transforms.attribution.methods.method import Method, one_point


def method(config: AttributionConfig) -> Method:
    """The method as configured."""
    return Method(one_point(0.5), complete=True, jittered=True)
