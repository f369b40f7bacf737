"""Kinds of bytes that take an extra: what the configuration must be, and what is said where the extra is not there."""

from __future__ import annotations

import sys

import pytest
from feature_columns import wanted
from pydantic import ValidationError

from transforms.errors import UsageError
from transforms.records import formats
from transforms.records.config import FeatureConfig
from transforms.records.formats import KINDS

PACKAGED = {name: kind for name, kind in KINDS.items() if kind.packages}


@pytest.mark.parametrize("decode", PACKAGED)
def test_without_its_packages_the_extra_is_named(decode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in PACKAGED[decode].packages:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match="E_DECODE_EXTRA") as caught:
        wanted((4, 4, 1), decode=decode)
    for part in ("input.features.image.decode", decode, "pip install", "attribeam[tfio]", PACKAGED[decode].extra):
        assert part in str(caught.value)


def test_tensorflow_io_beside_a_tensorflow_without_its_ops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(formats, "_has_native_ops", lambda: False)
    with pytest.raises(UsageError, match=r"E_DECODE_EXTRA.*the TensorFlow it is built for.*attribeam\[tfio\]"):
        formats.check_packages("image", "webp")


@pytest.mark.parametrize("decode", [name for name, kind in KINDS.items() if kind.picture])
def test_pictures_have_three_axes(decode: str) -> None:
    for shape in ((4, 4), (4, 4, 2)):
        with pytest.raises(UsageError, match="E_FEATURE_SHAPE"):
            wanted(shape, decode=decode)


@pytest.mark.parametrize("decode", KINDS)
def test_the_dtype_is_that_of_the_kind(decode: str) -> None:
    with pytest.raises(UsageError, match=rf"E_FEATURE_DTYPE.*{decode} decodes to {KINDS[decode].dtype}"):
        wanted((4, 4, 1), decode=decode, dtype="int16", scale=2.0)


@pytest.mark.parametrize(
    "config",
    [{"decode": "image", "window": "file"}, {"window": (1, 2)}, {"decode": "dicom", "window": (40, 0.5)}],
)
def test_a_window_is_for_dicom_and_at_least_1_wide(config: dict) -> None:
    with pytest.raises(ValidationError, match="window"):
        FeatureConfig(column="pixels", **config)
