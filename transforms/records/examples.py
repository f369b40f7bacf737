"""From raw columns to examples: decoded, named, and every row that cannot be used set apart with its reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.errors import Fault, quoted
from transforms.records.decode import decode
from transforms.records.decode_sequences import decode_sequences
from transforms.records.feature import Feature
from transforms.records.labels import class_indices
from transforms.records.ragged import Ragged
from transforms.records.source import RawBatch

Values = npt.NDArray[Any]
_UNREADABLE = (ValueError, OverflowError, KeyError)  # text that is not UTF-8, times beyond Python's, unknown zones
_CAST = (pa.ArrowInvalid, pa.ArrowNotImplementedError)  # a value that loses something, a type that never fits


@dataclasses.dataclass(frozen=True)
class Layout:
    """What is taken from every row.

    Attributes:
        inputs: the model's inputs.
        baselines: explained inputs whose baseline is a column.
        id: column of the row's name, or None for `<file>#<row>`.
        label: column of the label, or None.
        target_is_label: whether the label says which output is explained.
        classes: names of the outputs, which the labels may give instead of an index.
        carried: by output column (`label` and the kept ones), the type it is written as.
        lengths: of inputs whose rows have lengths of their own, the usual one: for estimates.
    """

    inputs: tuple[Feature, ...]
    baselines: tuple[Feature, ...] = ()
    id: str | None = None
    label: str | None = None
    target_is_label: bool = False
    carried: Mapping[str, pa.DataType] = dataclasses.field(default_factory=dict)
    classes: tuple[str, ...] = ()
    lengths: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read, each once."""
        features = [feature.column for feature in (*self.inputs, *self.baselines)]
        carried = [self.source_of(name) for name in self.carried]
        rest = [name for name in (self.id, self.label) if name is not None]
        return tuple(dict.fromkeys([*features, *rest, *carried]))

    def source_of(self, carried: str) -> str:
        """The input column of a carried output column."""
        return self.label if carried == "label" and self.label is not None else carried


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A row that could not be explained."""

    row_id: str
    source_row: int
    fault: Fault


@dataclasses.dataclass(frozen=True)
class Examples:
    """Rows that can be explained, in the order of the input.

    Attributes:
        row_ids: [rows]; source_rows: int64 [rows].
        inputs, baselines: by model input, [rows, *shape], or rows of different lengths.
        labels: int64 [rows] when the label is the target, else None.
        carried: by output column, Arrow arrays [rows].
    """

    row_ids: list[str]
    source_rows: npt.NDArray[np.int64]
    inputs: Mapping[str, Values | Ragged]
    baselines: Mapping[str, Values | Ragged]
    labels: npt.NDArray[np.int64] | None
    carried: Mapping[str, pa.Array]

    def __len__(self) -> int:
        return len(self.row_ids)

    @property
    def of_one_shape(self) -> dict[str, Values]:
        """The inputs of which all rows have the same shape."""
        return {name: value for name, value in self.inputs.items() if not isinstance(value, Ragged)}

    def without(self, rows: Iterable[int]) -> Examples:
        """All but these rows."""
        keep = np.ones(len(self), dtype=bool)
        keep[list(rows)] = False
        return self if keep.all() else self.some(np.flatnonzero(keep))

    def some(self, rows: npt.NDArray[np.int64]) -> Examples:
        """These rows, in this order."""
        return Examples(
            [self.row_ids[row] for row in rows],
            self.source_rows[rows],
            {name: value[rows] for name, value in self.inputs.items()},
            {name: value[rows] for name, value in self.baselines.items()},
            None if self.labels is None else self.labels[rows],
            {name: array.take(pa.array(rows)) for name, array in self.carried.items()},
        )

    def refuse(self, faults: Mapping[int, Fault], file: str) -> tuple[Examples, list[Refusal]]:
        """Set rows apart: the remaining examples, and a refusal for each fault, with its file and row named."""
        refusals = []
        for row, fault in sorted(faults.items()):
            source_row = int(self.source_rows[row])
            message = f"{file} row {source_row}: {fault.message}"
            refusals.append(Refusal(self.row_ids[row], source_row, Fault(fault.code, message)))
        return self.without(faults), refusals


def extract(raw: RawBatch, layout: Layout, file: str) -> tuple[Examples, list[Refusal]]:
    """Decode one raw batch of `file`; a row's first fault decides why it is refused."""
    faults = dict(raw.faults)
    rows = raw.first_row + np.arange(raw.table.num_rows, dtype=np.int64)
    inputs = {feature.name: _decoded(raw, feature, faults) for feature in layout.inputs}
    baselines = {feature.name: _decoded(raw, feature, faults) for feature in layout.baselines}
    _merge(faults, _baseline_faults(inputs, baselines))
    labels = _labels(raw, layout, faults)
    carried = {name: _carried(raw, layout.source_of(name), kind, faults) for name, kind in layout.carried.items()}
    names = _row_ids(raw, layout.id, rows, file, faults)
    return Examples(names, rows, inputs, baselines, labels, carried).refuse(faults, file)


def carried_type(kind: pa.DataType, sample: pa.Array) -> pa.DataType:
    """The type in which a column is carried: its own; that of the value where TFRecord wraps single ones in lists."""
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return kind
    values = kind.value_type
    if pa.types.is_binary(values) or pa.types.is_null(values):
        values = pa.string()
    lengths = pc.list_value_length(sample.drop_null())
    return values if len(lengths) and pc.all(pc.equal(lengths, 1)).as_py() else pa.list_(values)


def _decoded(raw: RawBatch, feature: Feature, faults: dict[int, Fault]) -> Values | Ragged:
    column = raw.table.column(feature.column)
    values, found = decode_sequences(column, feature, feature.varying) if feature.varying else decode(column, feature)
    _merge(faults, found)
    return values


def _baseline_faults(
    inputs: Mapping[str, Values | Ragged], baselines: Mapping[str, Values | Ragged]
) -> dict[int, Fault]:
    """Rows whose baseline has another length than they have."""
    faults: dict[int, Fault] = {}
    for name, baseline in baselines.items():
        value = inputs[name]
        if isinstance(baseline, Ragged) and isinstance(value, Ragged):
            for row in np.flatnonzero(baseline.lengths != value.lengths).tolist():
                found = (
                    f"the baseline of {quoted(name)} has {baseline.lengths[row]} steps, its row {value.lengths[row]}"
                )
                message = f"{found}; give the baseline the length of the row"
                faults.setdefault(row, Fault("E_BASELINE_LENGTH", message))
    return faults


def _labels(raw: RawBatch, layout: Layout, faults: dict[int, Fault]) -> npt.NDArray[np.int64] | None:
    if layout.label is None or not layout.target_is_label:
        return None
    labels, found = class_indices(raw.table.column(layout.label), layout.label, layout.classes)
    _merge(faults, found)
    return labels


def _carried(raw: RawBatch, column: str, kind: pa.DataType, faults: dict[int, Fault]) -> pa.Array:
    array = raw.table.column(column)
    try:
        carried = array if array.type == kind else _unwrapped(array, kind).cast(kind)
        carried.validate(full=True)  # Parquet's text need not be UTF-8
        return carried
    except _CAST:
        return pa.array([_one(array[row], column, kind, row, faults) for row in range(len(array))], kind)


def _unwrapped(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if not pa.types.is_list(array.type) or pa.types.is_list(kind):
        return array
    lengths = pc.fill_null(pc.list_value_length(array), 1)
    if not pc.all(pc.equal(lengths, 1)).as_py():
        raise pa.ArrowInvalid("not one value a row")
    return pc.list_element(array, 0)


def _one(value: pa.Scalar, column: str, kind: pa.DataType, row: int, faults: dict[int, Fault]) -> Any:
    """As the whole column is cast: what becomes of a row does not depend on its neighbours."""
    if not value.is_valid:
        return None
    single = pa.types.is_list(value.type) and not pa.types.is_list(kind) and len(value) == 1
    try:
        return (value[0] if single else value).cast(kind).as_py()
    except (pa.ArrowException, *_UNREADABLE):
        found = f"column {column!r} holds {_shown(value)}; other rows have {kind}"
        _merge(faults, {row: Fault("E_KEEP_TYPE", f"{found}: mend it, or leave it out of input.keep")})
        return None


def _row_ids(
    raw: RawBatch, column: str | None, rows: npt.NDArray[np.int64], file: str, faults: dict[int, Fault]
) -> list[str]:
    names = [f"{file}#{row}" for row in rows]
    if column is None:
        return names
    for row, value in enumerate(raw.table.column(column)):
        found = _text(value)
        if found is None:
            message = f"the id in column {column!r} is {_shown(value)}; give every row an id, or leave input.id out"
            _merge(faults, {row: Fault("E_ID_MISSING", message)})
        else:
            names[row] = found
    return names


def _text(value: pa.Scalar) -> str | None:
    """What names a row; None for what is no one value, or cannot be read."""
    try:
        plain = value.as_py()
        if isinstance(plain, list):
            plain = plain[0] if len(plain) == 1 else None
        return plain.decode() if isinstance(plain, bytes) else None if plain is None else str(plain)
    except _UNREADABLE:
        return None


def _shown(value: pa.Scalar) -> str:
    try:
        return quoted(value.as_py())
    except _UNREADABLE:
        return "what cannot be read"


def _merge(faults: dict[int, Fault], found: Mapping[int, Fault]) -> None:
    for row, fault in found.items():
        faults.setdefault(row, fault)
