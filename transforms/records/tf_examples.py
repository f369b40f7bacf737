"""Payloads of tf.train.Example become Arrow columns, in batches; what is no Example is a fault of its row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.errors import Fault, UsageError, quoted

MAX_BATCH_BYTES = 64 * 2**20  # a batch ends early here: Arrow's offsets have 31 bits, and memory is finite


def batches(
    records: Iterator[bytes | Fault], columns: Sequence[str], batch_rows: int
) -> Iterator[tuple[pa.RecordBatch, dict[int, Fault]]]:
    """Streams (one list column per name, faults by offset in the batch); a feature that no row has is all null.

    A row's columns are null where it has a fault, except after E_FEATURE_DTYPE, where only the column at fault is.
    """
    names = list(dict.fromkeys(columns))
    while batch := _next_batch(records, batch_rows):
        yield _columns(batch, names)


def schema(records: Iterator[bytes | Fault], name: str) -> dict[str, str]:
    """Feature -> kind and number of values in the first record that can be read; empty when there are no records.

    Raises:
        UsageError: the first record's fault when none can be read; `name` is the file, for the message.
    """
    first_fault = None
    for record in records:
        parsed = _parsed(record)
        if not isinstance(parsed, Fault):
            return {name: _described(parsed[name]) for name in sorted(parsed)}
        first_fault = first_fault or parsed
    if first_fault:
        raise UsageError(first_fault.code, f"{name} record 0 {first_fault.message}")
    return {}


def _next_batch(records: Iterator[bytes | Fault], batch_rows: int) -> list[bytes | Fault]:
    """The next records, until there are `batch_rows` of them or they are `MAX_BATCH_BYTES` together."""
    batch: list[bytes | Fault] = []
    held_bytes = 0
    while len(batch) < batch_rows and held_bytes < MAX_BATCH_BYTES:
        record = next(records, None)
        if record is None:
            break
        batch.append(record)
        held_bytes += len(record) if isinstance(record, bytes) else 0
    return batch


def _parsed(record: bytes | Fault) -> Any:
    """The features of one Example by name, or why there are none."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.example import example_pb2

    if isinstance(record, Fault):
        return record
    try:
        return example_pb2.Example.FromString(record).features.feature
    except (DecodeError, UnicodeDecodeError):
        found = f"payload {quoted(record)} of {len(record)} bytes is no tf.train.Example"
        return Fault("E_RECORD_PARSE", f"{found}; write Examples, or leave the record out")


def _described(feature: Any) -> str:
    kind = feature.WhichOneof("kind")
    return f"{kind}[{len(getattr(feature, kind).value)}]" if kind else "empty"


def _columns(batch: Sequence[bytes | Fault], names: Sequence[str]) -> tuple[pa.RecordBatch, dict[int, Fault]]:
    """One list column per name, and the rows that could not be read."""
    parsed = [_parsed(record) for record in batch]
    faults = {row: value for row, value in enumerate(parsed) if isinstance(value, Fault)}
    arrays = []
    for name in names:
        features = [None if isinstance(value, Fault) else value.get(name) for value in parsed]
        array, refused = _column(features, name)
        arrays.append(array)
        faults = refused | faults
    if not names:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * len(batch), pa.struct([]))), faults
    return pa.RecordBatch.from_arrays(arrays, names=list(names)), faults


def _column(features: Sequence[Any], name: str) -> tuple[pa.Array, dict[int, Fault]]:
    """The kind that most rows have decides the type; other kinds are refused, absent values are null."""
    kinds = [None if feature is None else feature.WhichOneof("kind") for feature in features]
    present = Counter(kind for kind in kinds if kind)
    if not present:
        return pa.nulls(len(features)), {}
    common = present.most_common(1)[0][0]
    refused = {
        row: Fault("E_FEATURE_DTYPE", f"feature {quoted(name)} is {kind}; most rows have {common}; write one kind")
        for row, kind in enumerate(kinds)
        if kind and kind != common
    }
    values = [
        getattr(feature, common) if kind == common else None for feature, kind in zip(features, kinds, strict=True)
    ]
    return _list_array(values, common), refused


def _list_array(lists: Sequence[Any], kind: str) -> pa.ListArray:
    """FloatList, Int64List or BytesList messages, None for null, as one ListArray."""
    lengths = [0 if one is None else len(one.value) for one in lists]
    present = [one for one in lists if one is not None]
    if kind == "bytes_list":
        flat = pa.array([value for one in present for value in one.value], pa.binary())
    elif kind == "float_list":
        flat = pa.array(np.concatenate([_floats(one) for one in present]))
    else:
        flat = pa.array(np.concatenate([np.array(one.value, dtype=np.int64) for one in present]))
    offsets = pa.array(np.cumsum([0, *lengths]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, flat, mask=pa.array([one is None for one in lists]))


def _floats(message: Any) -> np.ndarray:
    """FloatList -> [values] float32, through its own packed bytes: ten times faster than value by value."""
    count, packed = len(message.value), message.SerializeToString()
    tag_bytes = 1 + -(-(4 * count).bit_length() // 7)  # field number and kind, then the length as a varint
    if len(packed) != tag_bytes + 4 * count:  # no values, or fields that we do not know
        return np.array(message.value, dtype=np.float32)
    return np.frombuffer(packed, dtype="<f4", offset=tag_bytes)
