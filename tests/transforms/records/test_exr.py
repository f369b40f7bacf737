"""OpenEXR to floats: every compression that loses nothing, halves and floats, channels by name."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from damage import damaged
from feature_columns import codes, wanted

from transforms.records.decode import decode

OpenEXR = pytest.importorskip("OpenEXR", reason="EXR takes the extra: pip install 'attribeam[formats]'")

RANDOM = np.random.default_rng(0)
PLANES = {name: RANDOM.normal(size=(6, 5)).astype(np.float32) for name in "RGBA"}


def written(folder: pathlib.Path, planes: dict[str, np.ndarray], **header: Any) -> bytes:
    path = folder / "picture.exr"
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage} | header, dict(planes)).write(
        str(path)
    )
    return path.read_bytes()


@pytest.mark.parametrize("compression", ["NO", "RLE", "ZIPS", "ZIP", "PIZ"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_every_lossless_compression(compression: str, dtype: type, tmp_path: pathlib.Path) -> None:
    planes = {name: PLANES[name].astype(dtype) for name in "BGR"}
    payload = written(tmp_path, planes, compression=getattr(OpenEXR, f"{compression}_COMPRESSION"))
    values, faults = decode(pa.array([payload]), wanted((6, 5, 3), decode="exr"))
    assert not faults
    np.testing.assert_array_equal(values[0], np.stack([planes[name] for name in "RGB"], axis=-1))


def test_channels_by_name(tmp_path: pathlib.Path) -> None:
    payload = written(tmp_path, PLANES)
    np.testing.assert_array_equal(
        decode(pa.array([payload]), wanted((6, 5, 4), decode="exr"))[0][0], np.stack(list(PLANES.values()), axis=-1)
    )
    for name in ("Y", "Z"):
        values, faults = decode(pa.array([written(tmp_path, {name: PLANES["R"]})]), wanted((6, 5, 1), decode="exr"))
        assert not faults
        np.testing.assert_array_equal(values[0, ..., 0], PLANES["R"])


def test_faults(tmp_path: pathlib.Path) -> None:
    rgb = {name: PLANES[name] for name in "RGB"}
    good = written(tmp_path, rgb)
    payloads = [written(tmp_path, {name: plane[:5] for name, plane in rgb.items()}), b"", b"x" * 99, good[:-20]]
    payloads += [written(tmp_path, {"R": PLANES["R"], "G": PLANES["G"]}), good]
    values, faults = decode(pa.array(payloads), wanted((6, 5, 3), decode="exr"))
    assert codes(faults) == dict(enumerate(["E_FEATURE_SHAPE"] + ["E_FEATURE_DECODE"] * 4))
    assert "'B'" in faults[4].message or "channel B" in faults[4].message
    assert values[-1].any()


def test_damaged_files_are_faults_of_their_row(tmp_path: pathlib.Path) -> None:
    column = pa.array(list(damaged(written(tmp_path, PLANES), 150)))
    _, faults = decode(column, wanted((6, 5, 4), decode="exr"))
    assert len(faults) >= 50  # those that are cut
    assert set(codes(faults).values()) <= {"E_FEATURE_DECODE", "E_FEATURE_SHAPE", "E_FEATURE_NONFINITE"}
