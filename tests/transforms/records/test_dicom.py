"""DICOM, over the real files that pydicom is tested with: rescaled, through a window, in every transfer syntax."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from damage import damaged
from feature_columns import codes, wanted

from transforms.records.decode import decode
from transforms.records.dicom import windowed

pydicom = pytest.importorskip("pydicom", reason="DICOM takes the extra: pip install 'attribeam[formats]'")
pytest.importorskip("gdcm", reason="DICOM takes the extra: pip install 'attribeam[formats]'")


def content(name: str) -> bytes:
    path = pydicom.data.get_testdata_file(name, download=False)
    assert path, f"pydicom ships no {name}"
    with open(path, "rb") as file:  # noqa: PTH123 -- a str by pydicom's own function
        return file.read()


def dataset(name: str) -> Any:
    return pydicom.dcmread(io.BytesIO(content(name)))


def saved(data: Any) -> bytes:
    file = io.BytesIO()
    data.save_as(file)
    return file.getvalue()


def pixels(payload: bytes, *shape: int, **config: Any) -> np.ndarray:
    values, faults = decode(pa.array([payload]), wanted(shape, decode="dicom", **config))
    assert not faults, faults
    return values[0]


def test_stored_values_are_rescaled() -> None:
    stored = np.frombuffer(dataset("CT_small.dcm").PixelData, "<i2").reshape(128, 128)
    values = pixels(content("CT_small.dcm"), 128, 128, 1)
    np.testing.assert_array_equal(values[..., 0], stored.astype(np.float32) - 1024)
    assert values.min() < 0 < values.max()
    halved = dataset("CT_small.dcm")
    halved.RescaleSlope = "0.5"
    np.testing.assert_array_equal(pixels(saved(halved), 128, 128), stored.astype(np.float32) / 2 - 1024)


SMALL = ["RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded"]


@pytest.mark.parametrize("variant", SMALL)
def test_every_lossless_transfer_syntax_gives_the_same(variant: str) -> None:
    stored = np.frombuffer(dataset("MR_small.dcm").PixelData, "<i2").reshape(64, 64)
    np.testing.assert_array_equal(pixels(content(f"MR_small_{variant}.dcm"), 64, 64), stored)


@pytest.mark.parametrize("name", ["rtdose.dcm", "rtdose_expb.dcm", "rtdose_rle.dcm"])
def test_frames_and_32_bits(name: str) -> None:
    stored = np.frombuffer(dataset("rtdose.dcm").PixelData, "<u4").reshape(15, 10, 10)
    np.testing.assert_array_equal(pixels(content(name), 15, 10, 10), stored.astype(np.float32))


def test_colours_become_rgb() -> None:
    stored = np.frombuffer(dataset("SC_rgb_small_odd.dcm").PixelData[:27], np.uint8).reshape(3, 3, 3)
    np.testing.assert_array_equal(pixels(content("SC_rgb_small_odd.dcm"), 3, 3, 3), stored)
    jpeg = pixels(content("SC_rgb_dcmtk_+eb+cr.dcm"), 100, 100, 3)
    # the same picture as JPEG in YBR; JPEG of this quality is off by some grey values, a colour model by more than 100
    ybr = pixels(content("SC_rgb_dcmtk_+eb+cy+n1.dcm"), 100, 100, 3)
    assert np.median(np.abs(jpeg - ybr)) <= 4
    palette = dataset("examples_palette.dcm")
    red = np.frombuffer(palette.RedPaletteColorLookupTableData, "<u2")
    stored = np.frombuffer(palette.PixelData, np.uint8)[: 350 * 800].reshape(350, 800)
    np.testing.assert_array_equal(pixels(content("examples_palette.dcm"), 350, 800, 3)[..., 0], red[stored])


def test_the_files_own_window_and_one_for_all() -> None:
    data = dataset("MR_small.dcm")
    center, width = float(data.WindowCenter), float(data.WindowWidth)
    shown = pydicom.pixels.apply_windowing(data.pixel_array, data)
    low, high = -(2.0**15), 2.0**15 - 1  # what pydicom maps the window to: the range of 16 signed bits
    values = pixels(content("MR_small.dcm"), 64, 64, window="file")
    np.testing.assert_allclose(values, (shown - low) / (high - low), atol=2.0**-23)
    np.testing.assert_array_equal(values, pixels(content("MR_small.dcm"), 64, 64, window=(center, width)))
    assert 0 <= values.min() < values.max() <= 1


def test_of_several_windows_the_first_and_monochrome1_inverted() -> None:
    data = dataset("MR_small.dcm")
    data.WindowCenter, data.WindowWidth = [600, 9], [1600, 99]
    first = pixels(saved(data), 64, 64, window="file")
    np.testing.assert_array_equal(first, pixels(content("MR_small.dcm"), 64, 64, window="file"))
    data.PhotometricInterpretation = "MONOCHROME1"
    # 1 - x in float64, then rounded to float32: off by a rounding of either
    np.testing.assert_allclose(pixels(saved(data), 64, 64, window="file"), 1 - first, atol=2.0**-23)
    np.testing.assert_array_equal(pixels(saved(data), 64, 64), pixels(content("MR_small.dcm"), 64, 64))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(2048.0, 4096.0), (0.0, 100.0), (50.0, 1.5), (-600.0, 1500.0)])
def test_windows_against_pydicom(function: str, center: float, width: float) -> None:
    data = dataset("CT_small.dcm")
    del data.RescaleSlope, data.RescaleIntercept
    data.WindowCenter, data.WindowWidth, data.VOILUTFunction = center, width, function
    values = np.arange(-3000, 3000)
    shown = pydicom.pixels.apply_windowing(values, data)
    low, high = -(2.0**15), 2.0**15 - 1
    # float64 at values of 2^16: a relative rounding of 2^-52 in each of a handful of operations
    np.testing.assert_allclose(windowed(values, center, width, function), (shown - low) / (high - low), atol=1e-12)


def test_a_window_of_width_1_is_a_step() -> None:
    np.testing.assert_array_equal(windowed(np.array([38.0, 39.0, 39.5, 40.0]), 40, 1), [0, 0, 0, 1])
    for width, function in ((0.5, "LINEAR"), (0.0, "SIGMOID"), (5.0, "CUBIC")):
        with pytest.raises(ValueError, match=r"window|function"):
            windowed(np.zeros(1), 0, width, function)


def test_faults() -> None:
    payloads = {
        content("CT_small.dcm"): "E_FEATURE_SHAPE",
        content("MR_truncated.dcm"): "E_FEATURE_DECODE",
        content("rtplan.dcm"): "E_FEATURE_DECODE",
        content("image_dfl.dcm"): "E_FEATURE_DECODE",
        content("badVR.dcm"): "E_FEATURE_DECODE",
        b"": "E_FEATURE_DECODE",
        b"no DICOM" * 99: "E_FEATURE_DECODE",
    }
    good = content("MR_small.dcm")
    values, faults = decode(pa.array([*payloads, good]), wanted((64, 64, 1), decode="dicom"))
    assert codes(faults) == dict(enumerate(payloads.values()))
    assert "128x128" in faults[0].message
    np.testing.assert_array_equal(values[-1, ..., 0], pixels(good, 64, 64))


def test_a_file_without_a_window_when_the_file_decides() -> None:
    _, faults = decode(pa.array([content("CT_small.dcm")]), wanted((128, 128), decode="dicom", window="file"))
    assert codes(faults) == {0: "E_FEATURE_WINDOW"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"])
def test_damaged_files_are_faults_of_their_row(name: str) -> None:
    column = pa.array(list(damaged(content(name), 150)))
    values, faults = decode(column, wanted((64, 64, 1), decode="dicom", window="file"))
    assert np.isfinite(values).all()
    assert 30 <= len(faults) < 150
    assert set(codes(faults).values()) <= {"E_FEATURE_DECODE", "E_FEATURE_SHAPE", "E_FEATURE_WINDOW"}
