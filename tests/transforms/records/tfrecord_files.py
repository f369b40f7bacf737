"""TFRecord files for tests, from tf.io.TFRecordWriter: an oracle that is not ours; and what reading them gives."""

from __future__ import annotations

import io
from pathlib import Path

import tensorflow as tf

from transforms.records import tfrecord
from transforms.records.source import RawBatch, RowRange, Selection, Source, read_rows

CODECS = {"none": "", "gzip": "GZIP", "zlib": "ZLIB"}


def feature(value: list) -> tf.train.Feature:
    if value and isinstance(value[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
    if value and isinstance(value[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))
    return tf.train.Feature(float_list=tf.train.FloatList(value=value))


def example(**features: list) -> bytes:
    parts = {name: feature(value) for name, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=parts)).SerializeToString()


def framed(path: Path, payloads: list[bytes], codec: str = "none") -> bytes:
    with tf.io.TFRecordWriter(str(path), CODECS[codec]) as writer:
        for payload in payloads:
            writer.write(payload)
    return path.read_bytes()


def digits(path: Path, rows: int = 6, codec: str = "none") -> bytes:
    return framed(path, [example(x=[row + 0.5, -1.0], y=[row], b=[b"%d" % row]) for row in range(rows)], codec)


def read(
    content: bytes, rows: RowRange, columns: tuple[str, ...] = ("y",), batch_rows: int = 2, limit: int = 2**28
) -> list[RawBatch]:
    codec = tfrecord.detect_codec("f", content[:12])
    selection = Selection(columns, rows, batch_rows, limit)
    return list(read_rows(io.BytesIO(content), Source("f.tfrecord", "tfrecord", codec), selection))


def column(batches: list[RawBatch], name: str = "y") -> list:
    return [value for batch in batches for value in batch.table[name].to_pylist()]


def faults(batches: list[RawBatch]) -> dict[int, str]:
    assert all(len(fault.message) <= 500 for batch in batches for fault in batch.faults.values())
    return {batch.first_row + at: fault.code for batch in batches for at, fault in batch.faults.items()}
