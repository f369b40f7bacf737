"""Integrated gradients: (x − x′) ⊙ ∫ ∂F(x′ + α(x − x′)) dα.

Source: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017.
"""

from __future__ import annotations

from transforms.attribution.config import AttributionConfig
from transforms.attribution.methods.method import Method
from transforms.attribution.methods.rules import levels


def method(config: AttributionConfig) -> Method:
    """The method as configured."""
    return Method(levels(config), complete=True)
