"""The methods, each a value: which points, which weights, how the gradients there combine."""

from collections.abc import Callable, Collection

from transforms.attribution.config import AttributionConfig
from transforms.attribution.method_config import PathIntegratedGradients
from transforms.attribution.methods import (
    blur_integrated_gradients,
    expected_gradients,
    guided_integrated_gradients,
    idgi,
    input_x_gradient,
    integrated_gradients,
    path_integrated_gradients,
    saliency,
    smooth_taylor,
)
from transforms.attribution.methods.method import Method
from transforms.attribution.model.user_code import load_function

METHODS: dict[str, Callable[[AttributionConfig], Method]] = {
    "integrated_gradients": integrated_gradients.method,
    "expected_gradients": expected_gradients.method,
    "smooth_taylor": smooth_taylor.method,
    "blur_integrated_gradients": blur_integrated_gradients.method,
    "guided_integrated_gradients": guided_integrated_gradients.method,
    "idgi": idgi.method,
    "path_integrated_gradients": path_integrated_gradients.method,
    "saliency": saliency.method,
    "input_x_gradient": input_x_gradient.method,
}


def method_of(config: AttributionConfig, trusted: Collection[str] = ()) -> Method:
    """The method as configured.

    Args:
        trusted: modules of the user's that may be imported, for a path of theirs.

    Raises:
        UsageError: E_CODE_*.
    """
    method = without_code(config)
    if not isinstance(config.method, PathIntegratedGradients):
        return method
    return path_integrated_gradients.along(method, load_function(config.method.path, trusted))


def without_code(config: AttributionConfig) -> Method:
    """The same, but on the straight path where the user's is another: nothing of theirs is loaded."""
    return METHODS[config.method.name](config)


def is_complete(config: AttributionConfig) -> bool:
    """Whether what is written of a row sums to F(x) − F(x′): by the method, and by how noisy copies are combined."""
    return without_code(config).complete and (config.noise is None or config.noise.kind == "smoothgrad")
