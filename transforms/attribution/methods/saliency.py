"""Saliency: the gradient at the input, with its sign.

No completeness. Source: Simonyan, Vedaldi, Zisserman, "Deep Inside Convolutional Networks", ICLR workshop 2014, which
takes the absolute value, as captum does.
"""

from __future__ import annotations

import numpy as np

from transforms.attribution.methods.method import Method, one_point

METHOD = Method(levels=one_point(1.0), factor=lambda x, start: np.ones(x.shape), complete=False)
