"""Guided integrated gradients: Σ (xₖ₊₁ − xₖ) ⊙ ∂F(xₖ), where each step moves the features of the smallest |∂F| first.

Source: Kapishnikov et al., "Guided Integrated Gradients: An Adaptive Path Method for Removing Noise", CVPR 2021.
"""

from __future__ import annotations

from transforms.attribution.config import AttributionConfig
from transforms.attribution.methods.method import Method
from transforms.attribution.methods.rules import doubling


def method(config: AttributionConfig) -> Method:
    """The method as configured; its steps follow one another, each from where the last one led (`guided.py`)."""
    return Method(doubling(config), complete=True, factor=None, sequential=True)
