"""What the user says about the method: its name, and what it takes beside it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from transforms.settings import Settings


class PlainMethod(Settings):
    """A method that takes nothing."""

    name: Literal["integrated_gradients", "expected_gradients", "idgi", "saliency", "input_x_gradient"]


class SmoothTaylor(Settings):
    """Noisy copies of the row, which are its baselines.

    Attributes:
        adaptive_noise: by which measure of a map each row's noise is chosen; null: as the baseline says.
    """

    name: Literal["smooth_taylor"]
    adaptive_noise: Literal["autvc", "aupc"] | None = None


class BlurIntegratedGradients(Settings):
    """The path is the row, less and less blurred.

    Attributes:
        max_sigma: standard deviation of the blur where the path begins, in pixels.
    """

    name: Literal["blur_integrated_gradients"]
    max_sigma: float = Field(default=50.0, gt=0)


class GuidedIntegratedGradients(Settings):
    """The path moves the features with the smallest gradients first.

    Attributes:
        fraction: of the features that are moved at once.
        max_dist: how far a feature may be from the straight path, as a share of its whole way.
    """

    name: Literal["guided_integrated_gradients"]
    fraction: float = Field(default=0.25, gt=0, le=1)
    max_dist: float = Field(default=0.02, ge=0, le=1)


class PathIntegratedGradients(Settings):
    """The path is the user's.

    Attributes:
        path: `module:function`, which takes x and x′, [points, *shape], and α, [points, 1, ...], and returns the points
            and ∂point/∂α there, in TensorFlow.
    """

    name: Literal["path_integrated_gradients"]
    path: str = Field(pattern=r"^[\w.]+:\w+$")


_Method = Annotated[
    PlainMethod | SmoothTaylor | BlurIntegratedGradients | GuidedIntegratedGradients | PathIntegratedGradients,
    Field(discriminator="name"),
]


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


MethodConfig = Annotated[_Method, BeforeValidator(_named)]


def integrated_gradients() -> PlainMethod:
    """The default."""
    return PlainMethod(name="integrated_gradients")
