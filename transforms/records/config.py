"""What the user says about the dataset: where each model input comes from, and what is carried along."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ByteSize, Field, field_validator, model_validator

from transforms.records.formats import Decode
from transforms.settings import Settings

Format = Literal["parquet", "tfrecord"]
Axes = tuple[int | Literal["channels"], ...]


class FeatureConfig(Settings):
    """Where one model input comes from.

    Attributes:
        column: Parquet column or TFRecord feature.
        shape: of one example, without the batch dimension; null: the model input's shape. Null in place of the first
            axis: each row has its own length.
        dtype: of the values as they are stored. Raw bytes are read as it; numeric columns must convert to it without
            loss. null: the model input's dtype (uint8 for images).
        decode: null (numbers), `raw` (bytes of `dtype`, little endian), `image` (JPEG, PNG, BMP, GIF), or a kind that
            takes an extra: `dicom`, `exr`, `audio`, `tiff`, `webp` (docs/formats.md).
        window: of DICOM: [center, width], or `file` for the file's own; null: the rescaled values themselves.
        scale, offset: value = stored * scale + offset, in float32 (float64 if the model wants it).
        pad: what rows of varying length are filled up with, in the model's units: after scale and offset.
    """

    column: str
    shape: tuple[int | None, ...] | None = None
    dtype: str | None = None
    decode: Decode | None = None
    window: Literal["file"] | tuple[float, Annotated[float, Field(ge=1)]] | None = None
    scale: float = 1.0
    offset: float = 0.0
    pad: float = 0.0

    @model_validator(mode="after")
    def _window_is_for_dicom(self) -> FeatureConfig:
        if self.window is not None and self.decode != "dicom":
            raise ValueError(f"window is for decode: dicom, but decode is {self.decode}; leave window out")
        return self


class ExamplesConfig(Settings):
    """What is taken of every row.

    Attributes:
        id: column of the row's name; None: made of the name of its file, or of its batch, and its position.
        features: every model input, and the column that it comes from.
        label: column of the label.
        keep: columns carried to the output.
    """

    id: str | None = None
    features: dict[str, FeatureConfig] = Field(min_length=1)
    label: str | None = None
    keep: tuple[str, ...] = ()

    @field_validator("features", mode="before")
    @classmethod
    def _column_alone(cls, value: Any) -> Any:
        """`image: pixels` is short for `image: {column: pixels}`."""
        if not isinstance(value, dict):
            return value
        for name, spec in value.items():
            if isinstance(spec, list) or (isinstance(spec, dict) and "columns" in spec):
                raise ValueError(
                    f"{name}: an input comes from one column; put several into one of lists, in pandas: table['x'] = "
                    "list(table[['a', 'b']].to_numpy('float32'))"
                )
        return {name: {"column": spec} if isinstance(spec, str) else spec for name, spec in value.items()}


class InputConfig(ExamplesConfig):
    """The dataset. `rows` is the number of rows it must hold, when the user knows it: the only proof against a file
    that was cut between two records."""

    files: list[str] = Field(min_length=1)
    format: Format | None = None
    rows: int | None = Field(default=None, ge=0)

    @field_validator("files", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


def _for_the_only_input(value: Any) -> Any:
    """Groups without an input are those of the only one that is explained; they stand under ""."""
    if not isinstance(value, dict) or not value:
        return value
    bare = [not isinstance(positions, dict) for positions in value.values()]
    if any(bare) and not all(bare):
        raise ValueError("groups of one input and groups by input; write {INPUT: {NAME: [positions]}} throughout")
    if "" in value and len(value) > 1:
        raise ValueError("groups under '' and others; name the inputs")
    return {"": value} if all(bare) else value


Groups = Annotated[dict[str, dict[str, tuple[int, ...]]], BeforeValidator(_for_the_only_input)]


class ColumnsConfig(Settings):
    """How attributions become columns.

    Attributes:
        reduce: per input, the axes of one example over which attributions are summed (never averaged, so that
            completeness holds); `channels` is the last axis.
        groups: features whose attributions are summed into one value with a name, by input; for the only explained
            input, without its name. Positions count the values of an example in row-major order, after `reduce`.
        top: how many values of the largest magnitude are kept of each row and input; null: all.
    """

    dtype: Literal["float32", "float16"] = "float32"
    reduce: dict[str, Axes] = Field(default_factory=dict)
    groups: Groups = Field(default_factory=dict)
    top: int | None = Field(default=None, ge=1)


class OutputConfig(ColumnsConfig):
    """What is written, where, and how large a part may become."""

    path: str
    shard_bytes: ByteSize = Field(default=ByteSize(128 * 2**20), ge=1)
