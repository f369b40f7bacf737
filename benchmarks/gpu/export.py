"""The kernel's gradient program out of TensorFlow, for a machine that has JAX and a GPU and no TensorFlow.

    python -m benchmarks.gpu.export resnet50 out/gpu/resnet50 --slots 8 --nodes 8       (from the repository's root)

Writes into the folder:
- program.hlo: the HLO module that `Kernel.gradients` runs, at these sizes, its large constants made parameters;
- constants-*.npz: those constants, each once, in files of at most 32 MiB;
- example.npz: arguments, and the values that this CPU gives: by the program compiled by XLA, as it goes to a GPU, and
  by TensorFlow's own kernels;
- export.json: sizes, and what each parameter of the module is.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import tempfile
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.compiler.xla import xla_data_pb2
from tensorflow.compiler.xla.service import hlo_pb2

from benchmarks.models import CASES, Case
from transforms.attribution.config import ModelConfig
from transforms.attribution.engine.kernel import Kernel, Paths
from transforms.attribution.model.model import Model, load_model

Values = npt.NDArray[Any]
LARGE, FILE_BYTES = 1024, 32 << 20
DTYPES = {
    xla_data_pb2.F32: "float32",
    xla_data_pb2.F64: "float64",
    xla_data_pb2.S32: "int32",
    xla_data_pb2.S64: "int64",
}


def load(case: Case) -> Model:
    """The model of the case as a job loads it: saved, frozen, its affine stem hoisted where that pays."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        case.model.save(path)
        return load_model(ModelConfig(path=str(path)))


def example(case: Case, kernel: Kernel, slots: int, nodes: int) -> Paths:
    """The first rows of the case, one a slot, from a baseline of zeros, under the midpoint rule."""
    rows = np.resize(np.arange(len(case.inputs)), slots)
    heads, _ = kernel.forward([case.inputs[rows]])
    starts, _ = kernel.forward([np.zeros_like(case.inputs[rows])])
    baselines = [value for value, spec in zip(starts, kernel.heads, strict=True) if spec.explained]
    points = np.tile((np.arange(nodes, dtype=np.float32) + 0.5) / nodes, (slots, 1))
    target = case.labels[rows, np.newaxis].astype(np.int32)
    return Paths(heads, baselines, target, points, np.full_like(points, 1 / nodes))


def program_of(kernel: Kernel, paths: Paths) -> tuple[hlo_pb2.HloModuleProto, list[Values]]:
    """The module that computes `kernel.gradients(paths)`, and its arguments in the order of its parameters."""
    groups = ([*paths.inputs], [*paths.baselines], paths.target, paths.nodes, paths.weights)
    tensors = tf.nest.map_structure(tf.convert_to_tensor, groups)
    # The kernel offers values, not its program: benchmarks alone look inside.
    serialized = kernel._gradients.experimental_get_compiler_ir(*tensors)(stage="hlo_serialized")
    module = hlo_pb2.HloModuleProto.FromString(serialized)
    arguments = [value.numpy() for value in tf.nest.flatten(tensors)]
    taken = [(DTYPES[shape.element_type], tuple(shape.dimensions)) for shape in module.host_program_shape.parameters]
    given = [(str(value.dtype), value.shape) for value in arguments]
    if taken != given:
        raise SystemExit(f"the module takes {taken}, the kernel's program {given}: they must be the same")
    return module, arguments


def take_constants(module: hlo_pb2.HloModuleProto) -> list[Values]:
    """Make the large float32 constants parameters of the module, equal ones the same; their values, in that order.

    TensorFlow's bridge writes a weight once for each of its uses: twice, forwards and backwards.
    """
    entry = next(part for part in module.computations if part.id == module.entry_computation_id)
    first, values = len(entry.program_shape.parameters), []
    known: dict[bytes, int] = {}
    replaced: dict[int, int] = {}
    for instruction in entry.instructions:
        if instruction.opcode != "constant" or len(instruction.literal.f32s) < LARGE:
            continue
        value = np.array(instruction.literal.f32s, np.float32).reshape(instruction.shape.dimensions)
        key = instruction.shape.SerializeToString() + value.tobytes()
        replaced[instruction.id] = known.setdefault(key, instruction.id)
        if replaced[instruction.id] == instruction.id:
            _to_parameter(instruction, first + len(values), module, entry)
            values.append(value)
    for instruction in entry.instructions:
        instruction.operand_ids[:] = [replaced.get(operand, operand) for operand in instruction.operand_ids]
    drop_unused(entry)
    return values


def drop_unused(entry: hlo_pb2.HloComputationProto) -> None:
    """Drop what the result does not depend on, such as gradients of filters; XLA would, but they would be counted."""
    operands = {part.id: [*part.operand_ids, *part.control_predecessor_ids] for part in entry.instructions}
    used, waiting = set(), [entry.root_id]
    while waiting:
        current = waiting.pop()
        if current not in used:
            used.add(current)
            waiting.extend(operands[current])
    kept = [part for part in entry.instructions if part.id in used or part.opcode == "parameter"]
    copies = [hlo_pb2.HloInstructionProto.FromString(part.SerializeToString()) for part in kept]
    del entry.instructions[:]
    entry.instructions.extend(copies)


def _to_parameter(instruction: Any, number: int, module: Any, entry: Any) -> None:
    instruction.ClearField("literal")
    instruction.opcode, instruction.parameter_number = "parameter", number
    for shape in (module.host_program_shape, entry.program_shape):
        shape.parameters.append(instruction.shape)
        shape.parameter_names.append(f"constant_{number}")


def write_constants(values: list[Values], folder: pathlib.Path) -> int:
    """Into as many files as it takes, by number; how many bytes they have."""
    parts: list[dict[str, Values]] = [{}]
    for number, value in enumerate(values):
        if sum(kept.nbytes for kept in parts[-1].values()) + value.nbytes > FILE_BYTES and parts[-1]:
            parts.append({})
        parts[-1][str(number)] = value
    for index, part in enumerate(parts):
        np.savez(folder / f"constants-{index}.npz", **part)
    return sum(value.nbytes for value in values)


def export(name: str, folder: pathlib.Path, slots: int, nodes: int) -> dict[str, Any]:
    """Write the folder; what export.json says."""
    case = CASES[name]()
    model, shapes = load(case), [case.inputs.shape[1:]]
    compiled = Kernel(model, shapes, targets=1, compiled=True)
    plain = Kernel(model, shapes, targets=1, compiled=False)
    paths = example(case, plain, slots, nodes)
    module, arguments = program_of(compiled, paths)
    whole_bytes = module.ByteSize()
    constants = take_constants(module)
    values, seconds = {}, {}
    for kind, kernel in (("xla", compiled), ("tensorflow", plain)):
        kernel.gradients(paths)
        started = time.perf_counter()
        values |= {f"{kind}_{index}": value for index, value in enumerate(kernel.gradients(paths))}
        seconds[kind] = time.perf_counter() - started
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("constants-*.npz"):
        stale.unlink()
    (folder / "program.hlo").write_bytes(module.SerializeToString())
    np.savez(folder / "example.npz", **{f"argument_{i}": value for i, value in enumerate(arguments)}, **values)
    facts = {
        "case": name,
        "slots": slots,
        "nodes": nodes,
        "stem_hoisted": model.stem is not None,
        "parameters": {"arguments": len(arguments), "constants": len(constants)},
        "outputs": len([key for key in values if key.startswith("xla_")]),
        "hlo_bytes_as_exported": whole_bytes,
        "hlo_bytes": module.ByteSize(),
        "constants_bytes": write_constants(constants, folder),
        "cpu_gradients_per_s": {kind: paths.points / taken for kind, taken in seconds.items()},
        "tensorflow": tf.__version__,
    }
    (folder / "export.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("case", choices=sorted(CASES))
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--slots", type=int, default=8, help="rows in one call")
    parser.add_argument("--nodes", type=int, default=8, help="points on the path of a row")
    given = parser.parse_args()
    print(json.dumps(export(given.case, given.folder, given.slots, given.nodes), indent=1))
