"""Integrated gradients: (x − x′) ⊙ ∫ ∂F(x′ + α(x − x′)) dα.

Source: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017.
"""

from __future__ import annotations

from transforms.attribution.methods.method import Method, difference
from transforms.attribution.rules import levels

METHOD = Method(levels=levels, factor=difference, complete=True)
