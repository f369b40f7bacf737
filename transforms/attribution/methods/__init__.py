"""The methods, each a value: which points, which weights, what the gradients are multiplied with."""

from transforms.attribution.config import AttributionConfig
from transforms.attribution.methods import input_x_gradient, integrated_gradients, saliency, smooth_taylor
from transforms.attribution.methods.method import Method

METHODS: dict[str, Method] = {
    "integrated_gradients": integrated_gradients.METHOD,
    "smooth_taylor": smooth_taylor.METHOD,
    "saliency": saliency.METHOD,
    "input_x_gradient": input_x_gradient.METHOD,
}


def is_complete(config: AttributionConfig) -> bool:
    """Whether what is written of a row sums to F(x) − F(x′): by the method, and by how noisy copies are combined."""
    return METHODS[config.method].complete and (config.noise is None or config.noise.kind == "smoothgrad")
