"""Saliency: the gradient at the input, with its sign.

No completeness. Source: Simonyan, Vedaldi, Zisserman, "Deep Inside Convolutional Networks", ICLR workshop 2014, which
takes the absolute value, as captum does.
"""

from __future__ import annotations

from transforms.attribution.config import AttributionConfig
from transforms.attribution.methods.method import Method, one_point


def method(config: AttributionConfig) -> Method:
    """The method as configured."""
    return Method(one_point(1.0), complete=False, factor=None, only="input")
