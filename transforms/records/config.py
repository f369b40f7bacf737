"""What the user says about the dataset: where each model input comes from, and what is carried along."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ByteSize, Field, field_validator

from transforms.settings import Settings

Format = Literal["parquet", "tfrecord"]


class FeatureConfig(Settings):
    """Where one model input comes from.

    Attributes:
        column: Parquet column or TFRecord feature.
        shape: of one example, without the batch dimension; null: the model input's shape.
        dtype: of the values as they are stored. Raw bytes are read as it; numeric columns must convert to it without
            loss. null: the model input's dtype (uint8 for images).
        decode: null (numbers), `raw` (bytes of `dtype`, little endian) or `image` (JPEG, PNG, BMP, GIF).
        scale, offset: value = stored * scale + offset, in float32 (float64 if the model wants it).
    """

    column: str
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    decode: Literal["raw", "image"] | None = None
    scale: float = 1.0
    offset: float = 0.0


class InputConfig(Settings):
    """The dataset. `rows` is the number of rows it must hold, when the user knows it: the only proof against a file
    that was cut between two records."""

    files: list[str] = Field(min_length=1)
    format: Format | None = None
    id: str | None = None
    features: dict[str, FeatureConfig] = Field(min_length=1)
    label: str | None = None
    keep: tuple[str, ...] = ()
    rows: int | None = Field(default=None, ge=0)

    @field_validator("files", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("features", mode="before")
    @classmethod
    def _column_alone(cls, value: Any) -> Any:
        """`image: pixels` is short for `image: {column: pixels}`."""
        if not isinstance(value, dict):
            return value
        return {name: {"column": spec} if isinstance(spec, str) else spec for name, spec in value.items()}


class OutputConfig(Settings):
    """What is written, and how large a part may become.

    Attributes:
        reduce: per input, the axes of one example over which attributions are summed (never averaged, so that
            completeness holds); `channels` is the last axis.
    """

    path: str
    dtype: Literal["float32", "float16"] = "float32"
    reduce: dict[str, tuple[int | Literal["channels"], ...]] = Field(default_factory=dict)
    shard_bytes: ByteSize = Field(default=ByteSize(128 * 2**20), ge=1)
