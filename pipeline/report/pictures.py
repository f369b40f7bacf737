"""Pictures of maps: small PNGs as data URIs, transparent where nothing is said, so that they fit light and dark pages.

Clipping is that of Vertex AI's visualisations: what is above the 99.9th percentile of abs(A) has full colour, and the
absolute map leaves out what is below the 62nd
(https://cloud.google.com/vertex-ai/docs/explainable-ai/visualization-settings).
"""

from __future__ import annotations

import base64
import dataclasses
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

CLIP_UPPER, CLIP_LOWER = 99.9, 62.0
MAX_SIDE = 128
LEVELS = 31  # of each sign
FOR, AGAINST, STRONG = (214, 57, 57), (37, 99, 214), (255, 140, 26)
COLOURS = 64  # of a picture of the input
Values = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture and what it is called; width and height in pixels of its own."""

    uri: str
    width: int
    height: int
    caption: str = ""

    def called(self, caption: str) -> Picture:
        """The same under a caption."""
        return dataclasses.replace(self, caption=caption)


def original(values: Values, side: int = MAX_SIDE) -> Picture:
    """The input itself, [height, width] or [height, width, channels]; of other than 1, 3 or 4 channels their mean."""
    return _png(Image.fromarray(_rgb(values, side)).quantize(COLOURS), {})


def signed(values: Values, side: int = MAX_SIDE) -> Picture:
    """What speaks for (red) and against (blue) the output, of a map [height, width]."""
    reduced = _reduced(values, side)
    strength = reduced / (_clip(np.abs(reduced), CLIP_UPPER) or 1.0)
    index = LEVELS + np.rint(np.clip(strength, -1, 1) * LEVELS)
    shades = np.abs(np.arange(-LEVELS, LEVELS + 1)) / LEVELS
    colours = np.where(np.arange(-LEVELS, LEVELS + 1)[:, np.newaxis] < 0, AGAINST, FOR)
    return _palette(index, colours, shades)


def magnitude(values: Values, behind: Values | None = None, side: int = MAX_SIDE) -> Picture:
    """How strong, whatever the sign, of a map [height, width]; over a grey picture of the input where there is one."""
    strength = highlighted(_reduced(values, side))
    if behind is None:
        return _palette(np.rint(strength * LEVELS), np.tile(STRONG, (LEVELS + 1, 1)), np.arange(LEVELS + 1) / LEVELS)
    rgb = np.array(Image.fromarray(_rgb(behind, side)).resize(strength.shape[::-1], Image.Resampling.BOX))
    grey = rgb.mean(axis=2, keepdims=True) * 0.6 + 40
    share = strength[..., np.newaxis]
    mixed = grey * (1 - share) + np.array(STRONG) * share
    return _png(Image.fromarray(np.rint(mixed).astype(np.uint8)).quantize(COLOURS), {})


def highlighted(values: Values) -> Values:
    """abs(A) as 0 at the lower percentile and below, 1 at the upper one and above: [height, width]."""
    size = np.abs(values)
    low, high = _clip(size, CLIP_LOWER), _clip(size, CLIP_UPPER)
    return np.clip((size - low) / (high - low), 0, 1) if high > low else np.zeros_like(size)


def _clip(sizes: Values, percentile: float) -> float:
    return float(np.percentile(sizes, percentile)) if sizes.size else 0.0


def _reduced(values: Values, side: int) -> Values:
    """A map of at most `side` pixels each way, by the mean of what falls into one; what is not finite is nothing."""
    finite = np.nan_to_num(np.asarray(values, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    image = Image.frombytes("F", finite.shape[::-1], np.ascontiguousarray(finite).tobytes())
    return np.array(_fitting(image, side))


def _fitting(image: Image.Image, side: int) -> Image.Image:
    """At most `side` pixels each way."""
    factor = max(image.width, image.height) / side
    if factor <= 1:
        return image
    size = max(1, round(image.width / factor)), max(1, round(image.height / factor))
    return image.resize(size, Image.Resampling.BOX)


def _rgb(values: Values, side: int) -> npt.NDArray[np.uint8]:
    """Bytes [height, width, 3] at the display's size."""
    finite = np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    planes = finite[..., np.newaxis] if finite.ndim == 2 else finite
    planes = planes[..., :3] if planes.shape[-1] in (3, 4) else planes.mean(axis=-1, keepdims=True)
    low, high = _domain(planes)
    scaled = np.rint(np.clip((planes - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return np.array(_fitting(Image.fromarray(np.broadcast_to(scaled, (*scaled.shape[:2], 3)).copy()), side))


def _domain(values: Values) -> tuple[float, float]:
    """What is black and what is white: 0 and 1, or 0 and 255, where the values are within; else their extremes."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    if low >= 0 and 0 < high <= 255:
        return 0.0, 1.0 if high <= 1 else 255.0
    return (low, high) if high > low else (low, low + 1)


def _palette(index: Values, colours: Values, opacity: Values) -> Picture:
    """A picture of palette entries [height, width], each a colour of its own opacity, 0 to 1."""
    height, width = index.shape
    image = Image.frombytes("P", (width, height), index.astype(np.uint8).tobytes())
    image.putpalette(np.asarray(colours, np.uint8).ravel().tobytes())
    return _png(image, {"transparency": np.rint(opacity * 255).astype(np.uint8).tobytes()})


def _png(image: Image.Image, options: dict[str, bytes]) -> Picture:
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True, **options)
    data = base64.b64encode(written.getvalue()).decode("ascii")
    return Picture(f"data:image/png;base64,{data}", image.width, image.height)
