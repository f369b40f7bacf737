"""DICOM: pixels in the units of the file (rescaled), or through a window, from 0 to 1.

By pydicom, with GDCM for what is compressed. tensorflow-io decodes it too, but on the files of pydicom's own tests it
gives other numbers: signed ones with an offset, rescaled ones stretched, 32-bit big-endian ones wrong.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np

from transforms.errors import Fault, quoted
from transforms.records.feature import Feature
from transforms.records.payload import as_stored, shape_fault, undecodable

# Its data set is inflated without a limit, whatever it expands to.
DEFLATED = b"1.2.840.10008.1.2.1.99"
# What pydicom and its decoders raise on bytes that are damaged, or never were DICOM.
_ERRORS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
_REMEDY = "give a DICOM file with pixels, or leave the row out"


def decode_dicom(data: bytes, feature: Feature) -> bytes | Fault:
    """Pixels [frames, rows, columns, samples] without the axes of length 1, float32.

    Value = stored * RescaleSlope + RescaleIntercept (or by the modality's table); YBR and palettes become RGB. With
    `feature.window` those values through the window, PS3.3 C.11.2.1.2, 0 to 1, and MONOCHROME1 the other way round.
    Faults: E_FEATURE_DECODE, E_FEATURE_SHAPE, E_FEATURE_WINDOW.
    """
    import pydicom
    from pydicom.errors import BytesLengthException, InvalidDicomError

    if DEFLATED in data:
        return undecodable(data, feature, "a deflated DICOM file", "store it in another transfer syntax")
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        fault = shape_fault(_shape(dataset), feature, "DICOM pixels")
        if fault:
            return fault
        values = _pixels(dataset)
        window = _window(dataset, feature)
    except (*_ERRORS, BytesLengthException, InvalidDicomError) as error:
        return undecodable(data, feature, f"not decoded as DICOM: {quoted(error)}", _REMEDY)
    if isinstance(window, Fault):
        return window
    if window is not None:
        values = windowed(values, *window)
        values = 1 - values if dataset.PhotometricInterpretation == "MONOCHROME1" else values
    return shape_fault(values.shape, feature, "DICOM pixels") or as_stored(values, feature)


def windowed(values: np.ndarray, center: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """Values through a window, 0 to 1, by the VOI LUT functions LINEAR, LINEAR_EXACT and SIGMOID of PS3.3 C.11.2.1.2.

    Raises:
        ValueError: another function, or a width that it does not take.
    """
    if width <= 0 or (function == "LINEAR" and width < 1):
        raise ValueError(f"a window of width {width}")
    if function == "SIGMOID":
        return np.asarray((1 + np.tanh(2 * (values - center) / width)) / 2)  # 1 / (1 + exp(-4 …)), without overflow
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if function != "LINEAR":
        raise ValueError(f"the VOI LUT function {function}")
    if width == 1:
        return np.asarray(values > center - 0.5, np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _shape(dataset: Any) -> list[int]:
    """Before anything is decompressed: what would come out."""
    samples = 3 if dataset.PhotometricInterpretation == "PALETTE COLOR" else dataset.SamplesPerPixel
    frames = dataset.get("NumberOfFrames") or 1
    return [int(axis) for axis in (frames, dataset.Rows, dataset.Columns, samples)]


def _pixels(dataset: Any) -> np.ndarray:
    from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

    values = pixel_array(dataset)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
    return np.asarray(apply_modality_lut(values, dataset), np.float64)


def _window(dataset: Any, feature: Feature) -> tuple[float, float, str] | Fault | None:
    """Center, width and function; the first of the file's windows where the file decides."""
    if feature.window is None:
        return None
    if feature.window != "file":
        return (*feature.window, "LINEAR")
    center, width = (_first(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if center is None or width is None:
        found = f"feature {quoted(feature.name)} is DICOM without WindowCenter and WindowWidth, but window is file"
        return Fault("E_FEATURE_WINDOW", f"{found}; write window: [center, width], or leave it out")
    return float(center), float(width), str(dataset.get("VOILUTFunction") or "LINEAR")


def _first(value: Any) -> Any:
    from pydicom.multival import MultiValue

    return (value[0] if value else None) if isinstance(value, MultiValue) else value
