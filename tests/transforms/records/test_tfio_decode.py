"""TIFF and WebP by tensorflow-io."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from damage import damaged
from feature_columns import codes, wanted
from PIL import Image

from transforms.errors import UsageError
from transforms.records.decode import decode
from transforms.records.formats import check_packages

try:
    check_packages("image", "tiff")
except UsageError as error:
    pytest.skip(f"TIFF and WebP take the extra: {error}", allow_module_level=True)

RGB = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
GREY = RGB[..., :1]
LOSSLESS: dict[str, list[dict[str, Any]]] = {
    "TIFF": [{}, *({"compression": name} for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits"))],
    "WEBP": [{"lossless": True}],
}


def encoded(pixels: np.ndarray, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("format", LOSSLESS)
@pytest.mark.parametrize("pixels", [GREY, RGB, np.concatenate([RGB, np.full_like(GREY, 255)], axis=-1)])
def test_lossless_pictures_are_exact(format: str, pixels: np.ndarray) -> None:
    payloads = [encoded(pixels, format, **options) for options in LOSSLESS[format]]
    values, faults = decode(pa.array(payloads), wanted(pixels.shape, decode=format.lower(), scale=0.5))
    assert not faults
    for value in values:
        np.testing.assert_array_equal(value, pixels / np.float32(2))


@pytest.mark.parametrize("format", LOSSLESS)
def test_faults(format: str) -> None:
    good, options = encoded(GREY, format, **LOSSLESS[format][-1]), LOSSLESS[format][-1]
    payloads = [encoded(GREY[:5], format, **options), encoded(RGB, format, **options), b"", b"x" * 99, good[:-60], good]
    values, faults = decode(pa.array(payloads), wanted(GREY.shape, decode=format.lower()))
    assert codes(faults) == dict(enumerate(["E_FEATURE_SHAPE"] * 2 + ["E_FEATURE_DECODE"] * 3))
    np.testing.assert_array_equal(values[-1], GREY)


def test_tiff_of_16_bits_or_two_pages_is_refused_not_cut_down() -> None:
    two = io.BytesIO()
    Image.fromarray(RGB).save(two, "TIFF", save_all=True, append_images=[Image.fromarray(RGB)])
    payloads = [encoded(GREY.astype(np.uint16) * 257, "TIFF"), two.getvalue()]
    _, faults = decode(pa.array(payloads), wanted(GREY.shape, decode="tiff"))
    assert codes(faults) == {0: "E_FEATURE_DECODE", 1: "E_FEATURE_DECODE"}
    assert "uint16" in faults[0].message
    assert "2 pages" in faults[1].message


@pytest.mark.parametrize("format", LOSSLESS)
def test_damaged_files_are_faults_of_their_row(format: str) -> None:
    column = pa.array(list(damaged(encoded(RGB, format, **LOSSLESS[format][-1]), 150)))
    _, faults = decode(column, wanted(RGB.shape, decode=format.lower()))
    assert len(faults) >= 30
    assert set(codes(faults).values()) <= {"E_FEATURE_DECODE", "E_FEATURE_SHAPE"}
