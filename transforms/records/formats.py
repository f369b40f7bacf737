"""Which kinds of bytes are decoded: what numbers come out, and which packages and which extra they take."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from transforms.errors import UsageError

Decode = Literal["raw", "image", "dicom", "tiff", "webp", "exr", "audio"]


@dataclass(frozen=True)
class Kind:
    """One kind of bytes.

    Attributes:
        dtype: of the decoded values.
        picture: whether they are height, width, channels.
        packages: that decode it, by the name they are imported under; none: TensorFlow does.
        extra: of attribeam, which installs them.
    """

    dtype: np.dtype[Any]
    picture: bool = False
    packages: tuple[str, ...] = ()
    extra: str = ""


_UINT8, _FLOAT32 = np.dtype(np.uint8), np.dtype(np.float32)
KINDS: Mapping[str, Kind] = {
    "image": Kind(_UINT8, picture=True),
    "tiff": Kind(_UINT8, picture=True, packages=("tensorflow_io",), extra="tfio"),
    "webp": Kind(_UINT8, picture=True, packages=("tensorflow_io",), extra="tfio"),
    "exr": Kind(_FLOAT32, picture=True, packages=("OpenEXR",), extra="formats"),
    "dicom": Kind(_FLOAT32, packages=("pydicom", "gdcm"), extra="formats"),
    "audio": Kind(_FLOAT32, packages=("soundfile",), extra="formats"),
}


def check_packages(name: str, decode: str) -> None:
    """Refuses at launch what nothing installed here decodes; `name` is the model input.

    Raises:
        UsageError: E_DECODE_EXTRA.
    """
    kind = KINDS.get(decode)
    if kind is None:
        return
    missing = [package for package in kind.packages if importlib.util.find_spec(package) is None]
    if not missing and "tensorflow_io" in kind.packages and not _has_native_ops():
        missing = ["tensorflow_io with the TensorFlow it is built for"]
    if missing:
        found = f"input.features.{name}.decode is {decode}, which takes {' and '.join(missing)}"
        other = "" if kind.extra == "tfio" else ", or attribeam[tfio]"
        raise UsageError("E_DECODE_EXTRA", f"{found}: pip install 'attribeam[{kind.extra}]'{other}")


def _has_native_ops() -> bool:
    """Whether tensorflow-io loads: beside another TensorFlow than 2.16 it imports, but has no ops."""
    from tensorflow_io.python.ops import core_ops

    try:
        return hasattr(core_ops, "io_decode_tiff")
    except NotImplementedError:
        return False
