"""An exported program as an executable of JAX's XLA client, its matrix products in one of three precisions.

Products are convolutions and dots. `float32` asks XLA for its HIGHEST precision; `tf32` for the DEFAULT one, which on
NVIDIA GPUs since Ampere is TF32; `bfloat16` rounds the operands and the result of each product to bfloat16 and leaves
all else in float32. A CPU has no TF32: there, the operands are rounded to its 10 bits and multiplied in float32.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jax._src.interpreters import mlir as lowering
from jax._src.lib import xla_client
from jaxlib import _jax
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

Values = npt.NDArray[Any]
PRECISIONS = ("float32", "tf32", "bfloat16")
PRODUCTS = {"stablehlo.convolution", "stablehlo.dot_general", "stablehlo.dot"}


@dataclasses.dataclass(frozen=True)
class Exported:
    """What `export` wrote.

    Attributes:
        arguments: of the program, in the order of its parameters.
        constants: parameters that follow the arguments; weights.
        values: by what computed them on the CPU, the outputs: float32 [slots, targets, *shape] each.
    """

    hlo: bytes
    facts: dict[str, Any]
    arguments: list[Values]
    constants: list[Values]
    values: dict[str, list[Values]]

    @property
    def points(self) -> int:
        """Gradients in one call."""
        return int(self.facts["slots"] * self.facts["nodes"])


def read(folder: pathlib.Path) -> Exported:
    """The folder that `export` wrote."""
    facts = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    constants: dict[str, Values] = {}
    for path in folder.glob("constants-*.npz"):
        with np.load(path) as part:
            constants |= dict(part)
    with np.load(folder / "example.npz") as example:
        stored = dict(example)
    count, outputs = facts["parameters"], range(facts["outputs"])
    if len(constants) != count["constants"]:
        raise SystemExit(f"{folder} has {len(constants)} constants of {count['constants']}: copy all constants-*.npz")
    return Exported(
        (folder / "program.hlo").read_bytes(),
        facts,
        [stored[f"argument_{index}"] for index in range(count["arguments"])],
        [constants[str(index)] for index in range(count["constants"])],
        {kind: [stored[f"{kind}_{index}"] for index in outputs] for kind in ("xla", "tensorflow")},
    )


class Executable:
    """The program, compiled for one device, with its arguments there.

    Args:
        exported: the program and its arguments.
        precision: one of PRECISIONS.
        device: where it runs.
    """

    def __init__(self, exported: Exported, precision: str, device: Any) -> None:
        computation = xla_client.XlaComputation(exported.hlo)
        text = _jax.mlir.xla_computation_to_mlir_module(computation)
        with lowering.make_ir_context(), ir.Location.unknown():
            module = ir.Module.parse(text)
            embed_constants(module, len(exported.arguments), exported.constants)
            products = products_of(module)
            self.products, self.flops = len(products), sum(map(flops, products))
            set_precision(products, precision, emulate=device.platform == "cpu")
            module.operation.verify()
            options = xla_client.CompileOptions()
            # else XLA may drop a rounding to bfloat16 and back
            options.env_option_overrides = [("xla_allow_excess_precision", precision != "bfloat16")]
            self._loaded = device.client.compile_and_load(module, xla_client.DeviceList((device,)), options)
        self._arguments = [jax.device_put(value, device) for value in exported.arguments]

    def __call__(self) -> list[jax.Array]:
        """The outputs for the example's arguments; they may be still on their way."""
        results = self._loaded.execute_sharded(self._arguments)
        return [shards[0] for shards in results.disassemble_into_single_device_arrays()]


def embed_constants(module: ir.Module, first: int, constants: Sequence[Values]) -> None:
    """Give the parameters of the program from `first` on their values: weights are constants again, as in a job."""
    main = next(part for part in module.body.operations if part.operation.attributes["sym_name"].value == "main")
    block = main.regions[0].blocks[0]
    with ir.InsertionPoint.at_block_begin(block):
        for parameter, value in zip(list(block.arguments)[first:], constants, strict=True):
            parameter.replace_all_uses_with(stablehlo.constant(ir.DenseElementsAttr.get(value)))
    for number in reversed(range(first, first + len(constants))):
        block.erase_argument(number)
    results = main.operation.attributes["function_type"].value.results
    kind = ir.FunctionType.get([parameter.type for parameter in block.arguments], results)
    main.operation.attributes["function_type"] = ir.TypeAttr.get(kind)
    for name in ("arg_attrs", "mhlo.parameter_replication"):
        if name in main.operation.attributes:
            del main.operation.attributes[name]


def products_of(module: ir.Module) -> list[ir.Operation]:
    """Every convolution and dot of the module."""
    found: list[ir.Operation] = []

    def collect(operation: ir.Operation) -> ir.WalkResult:
        if operation.name in PRODUCTS:
            found.append(operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(collect)
    return found


def flops(product: ir.Operation) -> float:
    """Multiplications and additions, without those of the zeros that the gradient of a stride puts between numbers.

    XLA's own count (`cost_analysis`) is not taken: on a GPU, products are calls of a library, which it does not see.
    """
    left, right, result = (value.type.shape for value in (*product.operands, product.results[0]))
    attributes = product.attributes
    if product.name == "stablehlo.convolution":
        numbers = stablehlo.ConvDimensionNumbers(attributes["dimension_numbers"])
        terms = math.prod(right) / right[numbers.kernel_output_feature_dimension]
        dilation = attributes["lhs_dilation"] if "lhs_dilation" in attributes else [1]  # noqa: SIM401 (it has no get)
        return 2.0 * math.prod(result) * terms / math.prod(dilation)
    if product.name == "stablehlo.dot":
        return 2.0 * math.prod(result) * left[-1]
    numbers = stablehlo.DotDimensionNumbers(attributes["dot_dimension_numbers"])
    return 2.0 * math.prod(result) * math.prod(left[axis] for axis in numbers.lhs_contracting_dimensions)


def set_precision(products: Sequence[ir.Operation], precision: str, emulate: bool) -> None:
    """Rewrite every product, of float32 each."""
    asked = stablehlo.PrecisionAttr.get("HIGHEST" if precision == "float32" else "DEFAULT")
    for product in products:
        product.attributes["precision_config"] = ir.ArrayAttr.get([asked, asked])
        if precision == "bfloat16":
            _in_bfloat16(product)
        elif precision == "tf32" and emulate:
            _round_operands(product, mantissa_bits=10)


def _round_operands(product: ir.Operation, mantissa_bits: int) -> None:
    with ir.InsertionPoint(product):
        for index, operand in enumerate(product.operands):
            product.operands[index] = stablehlo.reduce_precision(operand, 8, mantissa_bits)


def _in_bfloat16(product: ir.Operation) -> None:
    short = ir.BF16Type.get()
    with ir.InsertionPoint(product):
        for index, operand in enumerate(product.operands):
            kind = ir.RankedTensorType.get(operand.type.shape, short)
            product.operands[index] = stablehlo.convert(kind, operand)
        result, kind = product.results[0], product.results[0].type
        result.set_type(ir.RankedTensorType.get(kind.shape, short))
        widened = stablehlo.convert(kind, result)
    widening = widened.owner.operation
    widening.move_after(product)
    result.replace_all_uses_except(widened, widening)
