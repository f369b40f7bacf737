"""SavedModels that do more than arithmetic, each by one known hole; made when a test wants them, and never stored.

`SAVED_MODELS` maps a hole to what makes such a model: (folder, canary) → its path. Where the hole writes, it writes the
canary; `LIVE` are those of which a test shows that it does, without a guard.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

SPEC = tf.TensorSpec([None, 2], tf.float32, name="x")
ONES = np.ones([1, 2], np.float32)
Make = Callable[[pathlib.Path, pathlib.Path], str]


class Signature(tf.Module):
    """A module whose only signature is a function of [batch, 2]; `held` is kept with it."""

    def __init__(self, function: Callable[[Any], Any], held: Any = None) -> None:
        super().__init__()
        self.held = held
        self.call = tf.function(function, input_signature=[SPEC])


def exported(folder: pathlib.Path, function: Callable[[Any], Any], held: Any = None) -> str:
    module = Signature(function, held)
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=True)
    tf.saved_model.save(module, str(folder), signatures=module.call, options=options)
    return str(folder)


def after(effect: Any, x: Any) -> Any:
    with tf.control_dependencies([effect]):
        return tf.identity(x) * 2


def edited(path: str, edit: Callable[[Any], None]) -> str:
    """The SavedModel with its meta graph changed."""
    file = pathlib.Path(path) / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    edit(model.meta_graphs[0])
    file.write_bytes(model.SerializeToString())
    return path


def writes(folder: pathlib.Path, canary: pathlib.Path) -> str:
    return exported(folder, lambda x: after(tf.io.write_file(str(canary), "fired"), x))


def prints_to_a_file(folder: pathlib.Path, canary: pathlib.Path) -> str:
    return exported(folder, lambda x: after(tf.print("fired", output_stream=f"file://{canary}"), x))


def saves_a_checkpoint(folder: pathlib.Path, canary: pathlib.Path) -> str:
    def call(x: Any) -> Any:
        saved = tf.raw_ops.SaveV2(prefix=str(canary), tensor_names=["x"], shape_and_slices=[""], tensors=[x])
        return after(saved, x)

    return exported(folder, call)


def writes_in_a_gradient(folder: pathlib.Path, canary: pathlib.Path) -> str:
    @tf.custom_gradient
    def identity(value: Any) -> Any:
        return tf.identity(value), lambda upstream: after(tf.io.write_file(str(canary), "fired"), upstream)

    return exported(folder, lambda x: identity(x) * 2)


def writes_in_a_branch_of_a_loop(folder: pathlib.Path, canary: pathlib.Path) -> str:
    @tf.function
    def inner(x: Any) -> Any:
        return after(tf.io.write_file(str(canary), "fired"), x)

    return exported(folder, lambda x: tf.while_loop(lambda y: tf.reduce_sum(y) < 100, lambda y: [inner(y)], [x])[0])


class WritingInitializer(tf.lookup.KeyValueTensorInitializer):
    """Of a table: it writes when the table is initialised, that is, when the model is loaded."""

    canary = ""

    def initialize(self, table: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(self.canary, "fired")]):
            return super().initialize(table)


def writes_when_loaded(folder: pathlib.Path, canary: pathlib.Path) -> str:
    WritingInitializer.canary = str(canary)
    table = tf.lookup.StaticHashTable(WritingInitializer([1], [2]), -1)
    return exported(folder, lambda x: x * 2, table)


def writes_in_a_stand_in(folder: pathlib.Path, canary: pathlib.Path) -> str:
    """Grappler replaces a function by another of the same `api_implements`, by the device at hand."""

    def implementing(function: Callable[[Any], Any], device: str) -> Any:
        attributes = {"api_implements": "evil", "api_preferred_device": device}
        return tf.function(function, input_signature=[SPEC], autograph=False, experimental_attributes=attributes)

    harmless = implementing(lambda x: x * 2, "GPU")
    wicked = implementing(lambda x: after(tf.io.write_file(str(canary), "fired"), x), "CPU")
    held = tf.Module()
    held.wicked = wicked
    wicked.get_concrete_function()
    return exported(folder, lambda x: harmless(x), held)


def summarises(folder: pathlib.Path, canary: pathlib.Path) -> str:
    def call(x: Any) -> Any:
        writer = tf.raw_ops.SummaryWriter(shared_name="w", container="")
        tf.raw_ops.CreateSummaryFileWriter(
            writer=writer, logdir=str(canary), max_queue=1, flush_millis=1, filename_suffix="w"
        )
        return after(tf.raw_ops.FlushSummaryWriter(writer=writer), x)

    return exported(folder, call)


def runs_python(folder: pathlib.Path, canary: pathlib.Path) -> str:
    def write(value: Any) -> Any:
        canary.write_text("fired")
        return value

    return exported(folder, lambda x: tf.ensure_shape(tf.numpy_function(write, [x], tf.float32), [None, 2]))


def runs_python_eagerly(folder: pathlib.Path, canary: pathlib.Path) -> str:
    def write(value: Any) -> Any:
        canary.write_text("fired")
        return value

    return exported(folder, lambda x: tf.ensure_shape(tf.py_function(write, [x], tf.float32), [None, 2]))


def reads(op: Callable[[], Any]) -> Make:
    """A model that reaches out and writes nothing."""
    return lambda folder, canary: exported(folder, lambda x: after(op(), x))


def read_a_table() -> Any:
    table = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
    return tf.raw_ops.InitializeTableFromTextFileV2(
        table_handle=table, filename="/etc/passwd", key_index=-2, value_index=-1
    )


def first_of(dataset: Any) -> Any:
    return tf.raw_ops.DatasetToSingleElement(
        dataset=tf.raw_ops.TakeDataset(
            input_dataset=dataset, count=tf.constant(1, tf.int64), output_types=[tf.string], output_shapes=[[]]
        ),
        output_types=[tf.string],
        output_shapes=[[]],
    )[0]


def reads_where_nobody_calls(folder: pathlib.Path, canary: pathlib.Path) -> str:
    """In a function that no signature calls: a shape depends on the file, so that importing the graph reads it."""
    canary.write_text("1")
    held = tf.Module()

    def call(x: Any) -> Any:
        rows = tf.strings.to_number(tf.io.read_file(str(canary)), tf.int32)
        return tf.reshape(x, tf.stack([rows, 2]))

    held.other = tf.function(call, input_signature=[SPEC])
    held.other.get_concrete_function()
    return exported(folder, lambda x: x * 2, held)


def asset_outside(folder: pathlib.Path, canary: pathlib.Path) -> str:
    """A table's file, named by a path that leaves the folder of assets."""

    def edit(meta_graph: Any) -> None:
        meta_graph.asset_file_def[0].filename = "../../../../../../etc/passwd"

    return edited(with_a_table(folder), edit)


def asset_by_another_call(folder: pathlib.Path, canary: pathlib.Path) -> str:
    """The table's own initialiser, called with a path of the model's choice."""

    def edit(meta_graph: Any) -> None:
        functions = {one.signature.name: one for one in meta_graph.graph_def.library.function}
        initialiser = next(
            name for name, one in functions.items() if any("FromTextFile" in node.op for node in one.node_def)
        )
        wrapper = next(one for name, one in functions.items() if "signature_wrapper" in name)
        node = wrapper.node_def.add(name="again", op="StatefulPartitionedCall")
        node.attr["f"].func.name = initialiser

    return edited(with_a_table(folder), edit)


def with_a_table(folder: pathlib.Path) -> str:
    """A harmless model: its table is read from an asset of its own."""
    words = folder.with_name(f"{folder.name}-words")
    words.write_text("a\nb\n")
    whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    source = tf.lookup.TextFileInitializer(str(words), tf.string, whole, tf.int64, number)
    table = tf.lookup.StaticHashTable(source, -1)
    return exported(folder, lambda x: x * tf.cast(table.lookup(tf.constant("b")), tf.float32), table)


def native_op(folder: pathlib.Path, canary: pathlib.Path) -> str:
    def edit(meta_graph: Any) -> None:
        for function in meta_graph.graph_def.library.function:
            for node in function.node_def:
                node.op = "EvilOp" if node.op == "Softsign" else node.op

    return edited(exported(folder, lambda x: tf.nn.softsign(x)), edit)


def op_of_an_add_on(folder: pathlib.Path, canary: pathlib.Path) -> str:
    def edit(meta_graph: Any) -> None:
        for function in meta_graph.graph_def.library.function:
            for node in function.node_def:
                node.op = "IO>FileReadAll" if node.op == "Softsign" else node.op

    return edited(exported(folder, lambda x: tf.nn.softsign(x)), edit)


def two_functions_of_one_name(folder: pathlib.Path, canary: pathlib.Path) -> str:
    def edit(meta_graph: Any) -> None:
        library = meta_graph.graph_def.library
        library.function.append(library.function[0])

    return edited(exported(folder, lambda x: x * 2), edit)


def signatures_of_another_kind(folder: pathlib.Path, canary: pathlib.Path) -> str:
    """A dict in place of the map of signatures, and a harmless table of contents."""

    def edit(meta_graph: Any) -> None:
        meta_graph.signature_def["serving_default"].outputs.clear()
        for node in meta_graph.object_graph_def.nodes:
            if node.user_object.identifier == "signature_map":
                node.user_object.identifier = "trackable_dict_wrapper"

    return edited(writes(folder, canary), edit)


def second_description(folder: pathlib.Path, canary: pathlib.Path) -> str:
    path = exported(folder, lambda x: x * 2)
    (folder / "saved_model.cpb").write_bytes(b"")
    return path


LIVE: Mapping[str, Make] = {
    "WriteFile": writes,
    "PrintV2 to a file": prints_to_a_file,
    "SaveV2": saves_a_checkpoint,
    "a gradient": writes_in_a_gradient,
    "a loop": writes_in_a_branch_of_a_loop,
    "an initialiser": writes_when_loaded,
    "NumpyFunction": runs_python,
    "EagerPyFunc": runs_python_eagerly,
    "a summary": summarises,
}
SAVED_MODELS: Mapping[str, Make] = {
    **LIVE,
    "a stand-in": writes_in_a_stand_in,
    "ReadFile": reads(lambda: tf.io.read_file("/etc/passwd")),
    "ReadFile over the network": reads(lambda: tf.io.read_file("gs://bucket/object")),
    "MatchingFiles": reads(lambda: tf.io.matching_files("/*")),
    "RestoreV2": reads(
        lambda: tf.raw_ops.RestoreV2(prefix="/x", tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32])[0]
    ),
    "ImmutableConst": reads(lambda: tf.raw_ops.ImmutableConst(dtype=tf.uint8, shape=[8], memory_region_name="/x")),
    "TextLineDataset": reads(
        lambda: first_of(tf.raw_ops.TextLineDataset(filenames="/etc/passwd", compression_type="", buffer_size=0))
    ),
    "TFRecordDataset": reads(
        lambda: first_of(tf.raw_ops.TFRecordDataset(filenames="/x", compression_type="", buffer_size=0))
    ),
    "a vocabulary of a sampler": reads(
        lambda: tf.raw_ops.FixedUnigramCandidateSampler(
            true_classes=[[1]], num_true=1, num_sampled=1, unique=True, range_max=2, vocab_file="/etc/passwd"
        )[0]
    ),
    "a description of a message": reads(
        lambda: tf.raw_ops.DecodeProtoV2(
            bytes=[b""], message_type="m", field_names=[], output_types=[], descriptor_source="/etc/passwd"
        )[0]
    ),
    "DebugIdentity with a URL": reads(
        lambda: tf.raw_ops.DebugIdentityV2(
            input=tf.constant(1.0), tfdbg_context_id="x", op_name="x", debug_urls=["file:///x"]
        )
    ),
    "a collective": reads(
        lambda: tf.raw_ops.CollectiveBcastRecv(T=tf.float32, group_size=2, group_key=1, instance_key=1, shape=[1])
    ),
    "Abort": reads(lambda: tf.raw_ops.Abort()),
    "a table's file": reads(read_a_table),
    "a function that nobody calls": reads_where_nobody_calls,
    "signatures of another kind": signatures_of_another_kind,
    "a graph within a tensor": reads(lambda: tf.raw_ops.DatasetFromGraph(graph_def=b"")),
    "an asset outside": asset_outside,
    "an asset by another call": asset_by_another_call,
    "an op of a native library": native_op,
    "an op of an add-on": op_of_an_add_on,
    "two functions of one name": two_functions_of_one_name,
    "a second description": second_description,
}
