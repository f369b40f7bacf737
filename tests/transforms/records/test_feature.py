"""Features resolved against the model, and column types refused at launch."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from feature_columns import codes, wanted
from refusals import refusal

from transforms.errors import UsageError
from transforms.records.config import FeatureConfig
from transforms.records.decode import decode
from transforms.records.feature import check_column, resolve

REFUSED = [
    (pa.null(), {}, "E_COLUMN_MISSING"),
    (pa.string(), {}, "E_FEATURE_DTYPE"),
    (pa.string(), {"decode": "raw"}, "E_FEATURE_DTYPE"),
    (pa.binary(), {}, "E_FEATURE_DTYPE"),
    (pa.list_(pa.uint8()), {"decode": "image"}, "E_FEATURE_DTYPE"),
    (pa.timestamp("s"), {}, "E_FEATURE_DTYPE"),
    (pa.struct({"a": pa.int8()}), {}, "E_FEATURE_DTYPE"),
    (pa.list_(pa.float32()), {"dtype": "uint8"}, "E_FEATURE_DTYPE"),
    (pa.float32(), {}, "E_FEATURE_SHAPE"),
    (pa.list_(pa.float32(), 7), {}, "E_FEATURE_SHAPE"),
    (pa.fixed_shape_tensor(pa.float32(), [3, 2, 2]), {}, "E_FEATURE_SHAPE"),
    (pa.fixed_shape_tensor(pa.float32(), [2, 2, 3], permutation=[2, 0, 1]), {}, "E_FEATURE_SHAPE"),
]


@pytest.mark.parametrize(("kind", "config", "code"), REFUSED)
def test_columns_refused_at_launch_are_faults_later(kind: pa.DataType, config: dict, code: str) -> None:
    feature = wanted((2, 2, 3), **config)
    with pytest.raises(UsageError) as error:
        check_column(kind, feature, "digits-3.parquet")
    refusal(error, code, "digits-3.parquet", "'pixels'")
    if not isinstance(kind, pa.FixedShapeTensorType):
        assert set(codes(decode(pa.array([None, None], kind), feature)[1]).values()) == {"E_FEATURE_MISSING"}


@pytest.mark.parametrize("stored", [(12,), (2, 2, 3), (1, 2, 2, 3)])
def test_tensors_that_fit(stored: tuple[int, ...]) -> None:
    check_column(pa.fixed_shape_tensor(pa.float32(), stored), wanted((2, 2, 3)), "f")


@pytest.mark.parametrize(
    ("shape", "model", "code"),
    [
        (None, (3, None), "E_FEATURE_SHAPE"),
        ((4,), (2, 2), "E_FEATURE_SHAPE"),
        ((2, 4), (2, 3), "E_FEATURE_SHAPE"),
        ((0, 3), (None, 3), "E_FEATURE_SHAPE"),
        ((-1, 3), (None, 3), "E_FEATURE_SHAPE"),
    ],
)
def test_shapes_refused(shape: tuple[int, ...] | None, model: tuple[int | None, ...], code: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve("image", FeatureConfig(column="pixels", shape=shape), model, "float32")
    refusal(error, code, "image", "shape")


@pytest.mark.parametrize(
    ("dtype", "config", "code"),
    [
        ("int32", {"dtype": "float32"}, "E_FEATURE_DTYPE"),
        ("int32", {"scale": 2.0}, "E_FEATURE_DTYPE"),
        ("uint8", {"offset": 1.0}, "E_FEATURE_DTYPE"),
        ("string", {}, "E_FEATURE_DTYPE"),
        ("float32", {"dtype": "flaot32"}, "E_FEATURE_DTYPE"),
        ("float32", {"dtype": "complex64"}, "E_FEATURE_DTYPE"),
        ("float32", {"decode": "image", "dtype": "float32"}, "E_FEATURE_DTYPE"),
    ],
)
def test_dtypes_refused(dtype: str, config: dict, code: str) -> None:
    with pytest.raises(UsageError) as error:
        wanted((2, 2, 3), dtype, **config)
    refusal(error, code, "image")


def test_an_image_has_channels() -> None:
    with pytest.raises(UsageError) as error:
        wanted((2, 3, 2), decode="image")
    refusal(error, "E_FEATURE_SHAPE", "image")


def test_open_axes_are_filled_by_the_configuration() -> None:
    feature = resolve("image", FeatureConfig(column="pixels", shape=(7, 3)), (None, 3), "float32")
    assert (feature.shape, feature.dtype, feature.stored_dtype) == ((7, 3), np.float32, None)
