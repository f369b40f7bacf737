"""Parts of a frozen graph: what an op needs, and the function between some tensors and others.

`WrappedFunction.prune` does nearly this. But it keeps the order of execution, and inlining a function makes each of
its ops wait for all its arguments: what is cut off would still be needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

Before = Mapping[str, Sequence[Any]]


def what_comes_before(operations: Iterable[Any]) -> Before:
    """By name of an op, the ops that it needs: those of its operands, and any with an effect that it waits for."""
    lasting: set[str] = set()
    before: dict[str, list[Any]] = {}
    for op in operations:
        operands, waits = [tensor.op for tensor in op.inputs], list(op.control_inputs)
        if op.op_def.is_stateful or any(other.name in lasting for other in operands + waits):
            lasting.add(op.name)
        before[op.name] = operands + [other for other in waits if other.name in lasting]
    return before


def needed(before: Before, wanted: Iterable[Any], end: str | None = None) -> set[str]:
    """The names of some ops and of all that they need; of what only the op named `end` needs, nothing."""
    waiting, found = list(wanted), set[str]()
    while waiting:
        op = waiting.pop()
        if op.name not in found:
            found.add(op.name)
            waiting.extend(before[op.name] if op.name != end else ())
    return found


def describe(graph: Any, before: Before, wanted: Iterable[Any], stand_ins: Mapping[str, Any]) -> Any:
    """The `GraphDef` of some ops and all that they need.

    Args:
        stand_ins: by name of an op, the shape of a placeholder to put in its place, or None for nothing; nothing
            before that is needed.
    """
    described = tf.compat.v1.GraphDef(versions=graph.graph_def_versions)
    waiting, seen = list(wanted), set[str]()
    while waiting:
        op = waiting.pop()
        if op.name in seen:
            continue
        seen.add(op.name)
        if op.name not in stand_ins:
            described.node.append(_bare(op, before))
            waiting.extend(before[op.name])
        elif stand_ins[op.name] is not None:
            described.node.append(_placeholder(op, stand_ins[op.name]))
    if any(value.HasField("func") or value.list.func for node in described.node for value in node.attr.values()):
        described.library.CopyFrom(graph.as_graph_def().library)
    return described


def cut(graph: Any, before: Before, feeds: Sequence[Any], fetches: Sequence[Any]) -> Any:
    """The function from some tensors, each the first output of its op, to others: takes and returns lists of them."""
    wanted = [tensor.op for tensor in (*fetches, *feeds)]
    described = describe(graph, before, wanted, {tensor.op.name: tensor.shape for tensor in feeds})
    return imported(described, feeds, [tensor.name for tensor in fetches])


def imported(described: Any, feeds: Sequence[Any], names: Sequence[str]) -> Any:
    """The function of a `GraphDef` from its placeholders, which stand for `feeds`, to the tensors of these names."""

    def part(*tensors: Any) -> Any:
        given = {feed.name: tensor for feed, tensor in zip(feeds, tensors, strict=True)}
        return tf.graph_util.import_graph_def(described, input_map=given, return_elements=names, name="")

    # names that no op of the graph has: the import keeps those
    named = [(f"attribeam_{index}", tensor) for index, tensor in enumerate(feeds)]
    return tf.compat.v1.wrap_function(part, [tf.TensorSpec(feed.shape, feed.dtype, name) for name, feed in named])


def inlined(function: Any) -> Any:
    """A frozen function whose ops go into the graph that calls it, and not into a function of their own there.

    A gradient may need the shape of a value inside: that of padding, of a concatenation, of a mean. Of a function it
    takes that from the outputs of a call; XLA then holds all that goes into the call, the points too, for constants,
    and compiles anew for every new value.

    Takes tensors of a graph and returns a list of them. `tf.gradients` sees the ops; a `GradientTape` does not see
    imported ones, and would give zeros.
    """
    graph, feeds, fetches = function.graph, function.inputs, function.outputs
    # nothing for the inputs: XLA has no placeholders, not even unused ones
    left_out = dict.fromkeys(tensor.op.name for tensor in feeds)
    described = describe(graph, what_comes_before(graph.get_operations()), [one.op for one in fetches], left_out)
    used = {name.removesuffix(":0") for node in described.node for name in node.input}

    def part(*tensors: Any) -> Any:
        given = {feed.name: tensor for feed, tensor in zip(feeds, tensors, strict=True) if feed.op.name in used}
        names = [tensor.name for tensor in fetches]
        found = tf.graph_util.import_graph_def(described, input_map=given, return_elements=names, name="inlined")
        for tensor, known in zip(found, fetches, strict=True):
            tensor.set_shape(known.shape)
        return found

    return part


def _placeholder(op: Any, shape: Any) -> Any:
    node = tf.compat.v1.NodeDef(name=op.name, op="Placeholder")
    node.attr["dtype"].type = op.outputs[0].dtype.as_datatype_enum
    node.attr["shape"].shape.CopyFrom(tf.TensorShape(shape).as_proto())
    return node


def _bare(op: Any, before: Before) -> Any:
    """The op without references to ops that may not be there."""
    node = tf.compat.v1.NodeDef()
    node.CopyFrom(op.node_def)
    kept = {f"^{other.name}" for other in before[op.name]}
    node.input[:] = [name for name in node.input if name[0] != "^" or name in kept]
    node.attr.pop("_class", None)
    return node
