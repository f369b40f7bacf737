"""The messages in which TensorFlow Model Analysis keeps its results, as far as an audit fills them.

They are declared with the numbers that the fields have in TFMA's metrics_for_slice.proto, and in a pool of their own:
TFMA need not be installed, and may be loaded beside this. `optional` fields of proto2 are the same bytes as those of
proto3, but an empty text is written where it is set, as in TFMA's oneof; a map is a list of entries.
https://github.com/tensorflow/model-analysis/blob/master/tensorflow_model_analysis/proto/metrics_for_slice.proto
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "attribeam.tfma"
# By message: its fields as `name number type`; `*`: any number of them. MetricKey and AttributionsKey differ in what is
# not filled.
FIELDS = {
    "DoubleValue": ("value 1 double",),
    "MetricValue": ("double_value 1 DoubleValue",),
    "SingleSliceKey": ("column 1 string", "bytes_value 2 bytes"),
    "SliceKey": ("single_slice_keys 1 SingleSliceKey*",),
    "Key": ("name 1 string",),
    "MetricKeyAndValue": ("key 1 Key", "value 2 MetricValue"),
    "MetricsForSlice": ("slice_key 1 SliceKey", "metric_keys_and_values 51 MetricKeyAndValue*"),
    "ValuesEntry": ("key 1 string", "value 2 MetricValue"),
    "AttributionsKeyAndValues": ("key 1 Key", "values 2 ValuesEntry*"),
    "AttributionsForSlice": ("slice_key 1 SliceKey", "attributions_keys_and_values 2 AttributionsKeyAndValues*"),
    "ConfusionEntry": ("actual_class_id 1 int32", "predicted_class_id 2 int32", "num_weighted_examples 3 double"),
    "ConfusionMatrix": ("threshold 1 double", "entries 2 ConfusionEntry*"),
    "ConfusionMatrices": ("matrices 1 ConfusionMatrix*",),
    "PlotKey": (),
    "PlotData": ("multi_class_confusion_matrix_at_thresholds 4 ConfusionMatrices",),
    "PlotKeyAndValue": ("key 1 PlotKey", "value 2 PlotData"),
    "PlotsForSlice": ("slice_key 1 SliceKey", "plot_keys_and_values 8 PlotKeyAndValue*"),
}


def serialized(message: str, values: dict[str, Any]) -> bytes:
    """A message of `FIELDS`, out of plain values, dicts and lists.

    Raises:
        ValueError, TypeError: of a field that the message does not have, or a value of another type.
    """
    data: bytes = message_class(message)(**values).SerializeToString(deterministic=True)
    return data


@functools.cache
def message_class(message: str) -> Any:
    """Its class."""
    return GetMessageClass(_pool().FindMessageTypeByName(f"{PACKAGE}.{message}"))


@functools.cache
def _pool() -> DescriptorPool:
    file = FileDescriptorProto(name="attribeam/tfma.proto", package=PACKAGE, syntax="proto2")
    file.message_type.extend(DescriptorProto(name=name, field=map(_field, fields)) for name, fields in FIELDS.items())
    pool = DescriptorPool()
    pool.Add(file)
    return pool


def _field(said: str) -> FieldDescriptorProto:
    name, number, kind = said.split()
    repeated, plain = kind.endswith("*"), kind.rstrip("*")
    found = FieldDescriptorProto(name=name, number=int(number))
    found.label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
    if plain in FIELDS:
        found.type, found.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{PACKAGE}.{plain}"
    else:
        found.type = FieldDescriptorProto.Type.Value(f"TYPE_{plain.upper()}")
    return found
