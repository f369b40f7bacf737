"""OpenEXR: pictures of half or single floats.

By the format's own library. tensorflow-io decodes them too, but a damaged header ends the whole process.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from transforms.errors import Fault
from transforms.records.feature import Feature
from transforms.records.payload import as_stored, shape_fault, undecodable

CHANNELS = {1: ("Y",), 3: ("R", "G", "B"), 4: ("R", "G", "B", "A")}
_REMEDY = "give an OpenEXR file"


def decode_exr(data: bytes, feature: Feature) -> bytes | Fault:
    """The data window [height, width, channels] float32: R, G, B and A, or Y, or the only channel there is.

    Faults: E_FEATURE_DECODE, E_FEATURE_SHAPE.
    """
    import OpenEXR

    wanted = CHANNELS[feature.shape[-1]]
    try:
        with OpenEXR.File(io.BytesIO(data), separate_channels=True, header_only=True) as file:
            size = _size(file.header())
        fault = shape_fault((*size, len(wanted)), feature, "an OpenEXR picture")
        if fault:
            return fault
        with OpenEXR.File(io.BytesIO(data), separate_channels=True) as file:
            planes = {name: np.array(channel.pixels) for name, channel in file.channels().items()}
    except (OSError, RuntimeError, TypeError, ValueError, LookupError, MemoryError):
        return undecodable(data, feature, "no OpenEXR picture that can be decoded", _REMEDY)
    names = tuple(planes) if len(planes) == len(wanted) == 1 else wanted
    missing = [name for name in names if name not in planes or planes[name].shape != size]
    if missing:
        why = f"an OpenEXR picture without a whole channel {' or '.join(missing)}"
        return undecodable(data, feature, why, f"give one with {', '.join(wanted)}")
    return as_stored(np.stack([planes[name] for name in names], axis=-1), feature)


def _size(header: Any) -> tuple[int, int]:
    """Height and width of the data window, whose corners are both within it."""
    low, high = header["dataWindow"]
    return int(high[1]) - int(low[1]) + 1, int(high[0]) - int(low[0]) + 1
