"""Saliency: the gradient at the input, with its sign.

No completeness. Source: Simonyan, Vedaldi, Zisserman, "Deep Inside Convolutional Networks", ICLR workshop 2014, which
takes the absolute value, as captum does.
"""

from __future__ import annotations

from transforms.attribution.config import AttributionConfig
from transforms.attribution.methods.drawn import at_inputs, itself
from transforms.attribution.methods.method import Method


def method(config: AttributionConfig) -> Method:
    """The method as configured."""
    return at_inputs(config, itself)
