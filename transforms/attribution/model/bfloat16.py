"""A frozen function with its matrix products in bfloat16, which has the range of float32 and 8 of its 24 bits.

Products and convolutions cost the most and lose the least: they add up in float32. What lies between them and only
moves, adds or scales their values stays in bfloat16 too, so that nothing is converted back and forth. All else is
float32: curved functions, whose derivatives near saturation are small differences; means, variances and softmax; and
whatever has no bfloat16 kernel. So is the first product: it takes the points of the path, and rounding those switches
units on and off from node to node, which no few nodes tell of.
"""

from __future__ import annotations

import dataclasses
import graphlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from transforms.attribution.model.subgraph import describe, imported, what_comes_before
from transforms.errors import UsageError, quoted

if TYPE_CHECKING:
    from transforms.attribution.model.model import Model

# each has one attribute T, the type of all that is rounded; FusedBatchNormV3 has U too, its parameters', which stay
# fmt: off
PRODUCTS = {
    "MatMul", "BatchMatMul", "BatchMatMulV2", "Einsum", "Conv2D", "Conv3D", "DepthwiseConv2dNative",
    "Conv2DBackpropInput", "Conv3DBackpropInputV2",
}
CARRIERS = {
    "Add", "AddV2", "AvgPool", "BatchToSpaceND", "BiasAdd", "ConcatV2", "DepthToSpace", "ExpandDims",
    "FusedBatchNormV3", "Identity", "LeakyRelu", "MaxPool", "Mul", "Neg", "Pack", "Pad", "PadV2", "Relu",
    "Relu6", "Reshape", "Slice", "SpaceToBatchND", "SpaceToDepth", "Split", "SplitV", "Squeeze", "StridedSlice",
    "Sub", "Transpose", "Unpack",
}
# fmt: on
_FULL, _LOW = tf.float32.as_datatype_enum, tf.bfloat16.as_datatype_enum


def in_bfloat16(model: Model) -> Model:
    """The model with a head that computes in bfloat16; it takes and returns float32, and so do its gradients.

    Raises:
        UsageError: E_PRECISION when the model has no graph of its own, or no product in float32.
    """
    if not model.frozen:
        raise _refused("its weights are no constants of one graph (a lookup table, text inputs, or more than 1.9 GB)")
    function, hoisted = model.head.function, model.stem.tensors if model.stem else {}
    # behind a stem, the first product is done already
    inputs = zip(function.inputs, model.inputs, strict=True)
    behind = [tensor.op.name for tensor, spec in inputs if spec.name in hoisted]
    return dataclasses.replace(model, head=dataclasses.replace(model.head, function=rounded(function, behind)))


def rounded(function: Any, behind: Iterable[str] = ()) -> Any:
    """A frozen function in bfloat16; takes the same tensors and returns the same list of them.

    Args:
        behind: ops of inputs that are not points, but what a first product made of them.

    Raises:
        UsageError: E_PRECISION.
    """
    graph, outputs = function.graph, list(function.outputs)
    operations = graph.get_operations()
    wanted = [tensor.op for tensor in (*outputs, *function.inputs)]
    stand_ins = {tensor.op.name: tensor.shape for tensor in function.inputs}
    rewriting = _Rewriting(describe(graph, what_comes_before(operations), wanted, stand_ins), behind)
    kept = _in_order([op for op in operations if op.name in rewriting.nodes])
    for op in kept:
        rewriting.visit(op)
    if not rewriting.products:
        raise _refused(_no_product(kept))
    names = [rewriting.converted(tensor, _FULL) if tensor.dtype == tf.float32 else tensor.name for tensor in outputs]
    return imported(rewriting.described, function.inputs, names)


class _Rewriting:
    """A `GraphDef` while its ops, visited in order, become bfloat16 or keep their type behind casts.

    Attributes:
        nodes: by name.
        products: how many became bfloat16.
    """

    def __init__(self, described: Any, behind: Iterable[str]) -> None:
        self.described, self.nodes, self.products = described, {node.name: node for node in described.node}, 0
        self._low, self._casts = set[str](), set[str]()
        # ops that no input reaches, and ops behind a product
        self._fixed, self._behind = set[str](), set(behind)

    def visit(self, op: Any) -> None:
        """Decide on one op; all that it needs must have been visited."""
        if op.type != "Placeholder" and all(tensor.op.name in self._fixed for tensor in op.inputs):
            self._fixed.add(op.name)
        elif op.type in PRODUCTS or any(tensor.op.name in self._behind for tensor in op.inputs):
            self._behind.add(op.name)
        node, low = self.nodes[op.name], self._becomes_low(op)
        chosen = _of_type_t(op, op.op_def.input_arg) if low else []
        for index, tensor in enumerate(op.inputs):
            if index in chosen or tensor.name in self._low:
                node.input[index] = self.converted(tensor, _LOW if index in chosen else _FULL)
        if low:
            node.attr["T"].type = _LOW
            self.products += op.type in PRODUCTS
            self._low |= {op.outputs[index].name for index in _of_type_t(op, op.op_def.output_arg)}

    def converted(self, tensor: Any, dtype: int) -> str:
        """The name of the float tensor in this type, behind a cast where it has another."""
        if (tensor.name in self._low) == (dtype == _LOW):
            return str(tensor.name)
        name = f"attribeam/{'low' if dtype == _LOW else 'full'}/{tensor.op.name}_{tensor.value_index}"
        if name not in self._casts:
            self._casts.add(name)
            node = self.described.node.add(name=name, op="Cast", input=[tensor.name])
            node.attr["SrcT"].type, node.attr["DstT"].type = (_FULL, _LOW) if dtype == _LOW else (_LOW, _FULL)
        return f"{name}:0"

    def _becomes_low(self, op: Any) -> bool:
        if op.name in self._fixed or op.type not in PRODUCTS | CARRIERS or op.get_attr("T") != tf.float32:
            return False
        values = [op.inputs[index] for index in _of_type_t(op, op.op_def.input_arg)]
        moving = [tensor for tensor in values if tensor.op.name not in self._fixed]
        if op.type in PRODUCTS:
            return all(tensor.op.name in self._behind for tensor in moving)
        return all(tensor.name in self._low for tensor in moving)


def _in_order(operations: Sequence[Any]) -> list[Any]:
    """Each op after what it needs. A graph is not: the gradient of a loop adds operands to it, made later."""
    by_name = {op.name: op for op in operations}
    needed = {op.name: [tensor.op.name for tensor in op.inputs] for op in operations}
    try:
        return [by_name[name] for name in graphlib.TopologicalSorter(needed).static_order()]
    except graphlib.CycleError as error:
        op = by_name[error.args[1][0]]
        raise _refused(f"its op {quoted(op.name)} ({op.type}) belongs to a loop of TensorFlow 1") from error


def _of_type_t(op: Any, arguments: Sequence[Any]) -> list[int]:
    """Which of an op's operands, or of its outputs, are of its type T."""
    found, position = list[int](), 0
    for argument in arguments:
        count = op.get_attr(argument.number_attr) if argument.number_attr else 1
        if argument.type_attr == "T":
            found.extend(range(position, position + count))
        position += count
    return found


def _no_product(operations: Sequence[Any]) -> str:
    """Why nothing became bfloat16: products of another type, a body that stays as it is, or no second product."""
    for op in operations:
        if op.type in PRODUCTS and op.outputs[0].dtype != tf.float32:
            return f"its op {quoted(op.name)} ({op.type}) computes in {op.outputs[0].dtype.name}"
    for op in operations:
        if any(value.HasField("func") or value.list.func for value in op.node_def.attr.values()):
            return f"its products are within its op {quoted(op.name)} ({op.type}), which stays as it is"
    last = operations[-1]
    return f"up to its op {quoted(last.name)} ({last.type}) there is no product behind the first, which stays as it is"


def _refused(reason: str) -> UsageError:
    return UsageError(
        "E_PRECISION",
        f"attribution.precision is bfloat16, but nothing of this model can be computed in it: {reason}. Use precision:"
        " float32",
    )
