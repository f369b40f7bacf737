"""`attribeam inspect`: what a model or a dataset is made of, printed; nothing of it is executed.

Whatever is printed may come from a stranger: it goes through `shown` or `repr` and is never taken for markup.
"""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.excerpts import joined, short_value, shown
from transforms.attribution.config import ModelConfig
from transforms.attribution.model import anatomy
from transforms.attribution.model.anatomy import Anatomy
from transforms.attribution.model.anatomy_parts import LayerInfo, Shape, SignatureInfo
from transforms.errors import MAX_MESSAGE_CHARACTERS, AttribeamError, Fault, UsageError
from transforms.explaining.model_files import local_model
from transforms.records import source
from transforms.records.source import FileSummary
from transforms.storage import listing
from transforms.storage.url import is_url, parse_url

MAX_FILES = 20
MAX_LINES = 200  # layers, tensors or columns of one table
FIRST_ROWS = 3
KINDS = {"saved_model": "TensorFlow SavedModel", "keras": "Keras file", "parquet": "Parquet", "tfrecord": "TFRecord"}
AFFINE_SAID = (
    "affine: up to there the model can run once a row instead of once a point (attribution.hoist), where that is no"
    " wider than the input; attribeam plan --pilot says whether it is done"
)
EMBEDDING_SAID = (
    "embedding: token ids cannot be differentiated; with model.layer: NAME, the vectors that are looked up for them are"
    " explained"
)
_MODEL_NAME = re.compile(r"\.(keras|h5|hdf5)$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class _File:
    """One file of a dataset: what it holds, or why it cannot be read."""

    name: str
    summary: FileSummary | None
    fault: AttribeamError | None = None


def inspect_path(path: str, console: Console) -> None:
    """Print a model's inputs, outputs, layers and risky operations, or a dataset's schema, rows and first values.

    Args:
        path: a SavedModel directory, a .keras file, or a dataset: file, directory or glob; local, or a URL.

    Raises:
        UsageError: E_MODEL_MISSING, E_MODEL_H5, E_MODEL_INVALID; E_INPUT_NOT_FOUND; for a dataset of which no file can
            be read, the first file's E_FILE_EMPTY, E_FORMAT_UNKNOWN, E_PARQUET_INVALID or E_TFRECORD_*;
            E_STORE_URL, E_STORE_SECRET.
        StoreError: as the methods of `Bucket`.
    """
    if is_url(path):
        parse_url(path)
    if _is_model(path):
        with local_model(ModelConfig(path=path)) as local:
            found = anatomy.dissect(local.path)
        _print_model(dataclasses.replace(found, path=path), console)
    else:
        _print_dataset(path, [_indexed(name) for name in _files(path)], console)


def _is_model(path: str) -> bool:
    try:
        held = listing.is_file(f"{path.rstrip('/')}/saved_model.pb")
        return held or (bool(_MODEL_NAME.search(path)) and not pathlib.Path(path).is_dir())
    # names that are too long, or in a directory that is not ours to see
    except OSError:
        return False


def _print_model(found: Anatomy, console: Console) -> None:
    facts = {
        "kind": KINDS[found.kind],
        "digest": f"{found.digest[:12]} (sha256, its first 12 digits)",
        "sha256": found.digest,
        "size": f"{found.bytes:,} bytes",
        "made with": ", ".join(f"{key} {value or '(no version)'}" for key, value in found.versions.items()),
    }
    _print_facts(found.path, facts, console)
    tensors = [line for signature in found.signatures for line in _signature_lines(signature)]
    _print_table("inputs and outputs", ("signature", "", "tensor", "shape", "dtype"), tensors, console)
    _print_layers(found.layers, console)
    _print_risks(found.risks, console)


def _print_layers(layers: Sequence[LayerInfo], console: Console) -> None:
    lines = [(layer.name, _kind(layer), _shape(layer.output), layer.affine) for layer in layers]
    told = any(layer.affine for layer in layers)
    headers = ("layer", "kind", "output shape", "affine")[: 4 if told else 3]
    _print_table("layers", headers, [line[: len(headers)] for line in lines], console)
    if told:
        console.print(Text(AFFINE_SAID, "dim"))
    if any(layer.embedding for layer in layers):
        console.print(Text(EMBEDDING_SAID, "dim"))


def _kind(layer: LayerInfo) -> str:
    return f"{layer.kind} (embedding)" if layer.embedding and layer.kind != "Embedding" else layer.kind


def _print_risks(risks: Sequence[str], console: Console) -> None:
    found = f"risky operations ({len(risks):,}): what this model could do besides arithmetic"
    console.print()
    console.print(Text(found, "bold red") if risks else Text("no risky operations found", "green"))
    for risk in risks:
        _warn(risk, console)


def _warn(text: object, console: Console) -> None:
    console.print(Text(f"  {shown(text, MAX_MESSAGE_CHARACTERS)}", "red"), soft_wrap=True)


def _signature_lines(signature: SignatureInfo) -> Iterator[tuple[str, ...]]:
    """(signature, input or output, name, shape, dtype), each of the first two only where it changes."""
    title = signature.name
    for side, tensors in (("input", signature.inputs), ("output", signature.outputs)):
        for tensor in tensors:
            yield title, side, tensor.name, _shape(tensor.shape), tensor.dtype
            title = side = ""


def _shape(shape: Shape | None) -> str:
    return "unknown" if shape is None else "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def _files(path: str) -> list[str]:
    try:
        return listing.list_files([path])
    except (UsageError, OSError) as error:
        remedy = "give a SavedModel directory, a .keras file, or a dataset's file, directory or glob"
        raise UsageError("E_INPUT_NOT_FOUND", f"no model and no dataset is at {path!r}; {remedy}") from error


def _indexed(name: str) -> _File:
    try:
        with listing.open_file(name) as file:
            return _File(name, source.index_file(file, name, None))
    except AttribeamError as error:
        return _File(name, None, error)
    except OSError as error:
        reason = f"{name} cannot be read: {error.strerror or error}; make it readable, or leave it out"
        return _File(name, None, UsageError("E_INPUT_NOT_FOUND", reason))


def _print_dataset(path: str, files: Sequence[_File], console: Console) -> None:
    summaries = [file.summary for file in files if file.summary]
    if not summaries:
        raise next(file.fault for file in files if file.fault)
    facts = {
        "kind": " and ".join(sorted({KINDS[summary.format] for summary in summaries})) + " dataset",
        "files": f"{len(files):,}" + (f", {bad:,} of them damaged" if (bad := len(files) - len(summaries)) else ""),
        "rows": f"{sum(summary.rows for summary in summaries):,}",
    }
    _print_facts(path, facts, console)
    _print_files(path, files, console)
    _print_schema(path, next((summary for summary in summaries if summary.rows), summaries[0]), console)


def _print_files(path: str, files: Sequence[_File], console: Console) -> None:
    lines = [(_within(path, file.name), f"{file.summary.rows:,}" if file.summary else "?") for file in files]
    _print_table("files", ("file", "rows"), lines, console, MAX_FILES)
    for fault in itertools.islice((file.fault for file in files if file.fault), MAX_FILES):
        _warn(fault, console)


def _within(path: str, name: str) -> str:
    return name.removeprefix(path.rstrip("/") + "/")


def _print_schema(path: str, summary: FileSummary, console: Console) -> None:
    """The columns of one file with the values of its first rows, as far as it can be read."""
    try:
        with listing.open_file(summary.name) as file:
            schema = source.schema_of(file, summary.name, summary.format, summary.codec)
            values, faults = _first_values(file, summary, list(schema)[:MAX_LINES])
    except AttribeamError as error:
        _warn(error, console)
        return
    lines = [(name, kind, joined(values.get(name, ()))) for name, kind in schema.items()]
    _print_table(f"columns of {_within(path, summary.name)}", ("column", "type", "first values"), lines, console)
    for row, fault in sorted(faults.items()):
        _warn(f"row {row} cannot be read: {fault.code}: {fault.message}", console)


def _first_values(
    file: BinaryIO, summary: FileSummary, columns: Sequence[str]
) -> tuple[dict[str, list[str]], dict[int, Fault]]:
    """By column, the values of the first rows as short texts; and by row, why it cannot be read."""
    rows = summary.range(0, min(FIRST_ROWS, summary.rows))
    stored = source.Source(summary.name, summary.format, summary.codec)
    values: dict[str, list[str]] = {column: [] for column in columns}
    faults: dict[int, Fault] = {}
    for batch in source.read_rows(file, stored, source.Selection(tuple(columns), rows, FIRST_ROWS)):
        faults.update({batch.first_row + row: fault for row, fault in batch.faults.items()})
        for column in columns:
            values[column].extend(map(short_value, batch.table.column(column)))
    return values, faults


def _print_facts(title: str, facts: Mapping[str, str], console: Console) -> None:
    """Lines that are never broken: a digest is there to be copied, also from a pipe."""
    console.print(Text(shown(title), "bold"), soft_wrap=True)
    for key, value in facts.items():
        console.print(Text.assemble((f"{key:<11}", "dim"), shown(value)), soft_wrap=True)


def _print_table(
    title: str, headers: Sequence[str], lines: Sequence[Iterable[str | Text]], console: Console, limit: int = MAX_LINES
) -> None:
    """A heading with a count, then at most `limit` of the lines, aligned."""
    console.print()
    console.print(Text(f"{shown(title)} ({len(lines):,})", "bold"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for header in headers:
        table.add_column(header, overflow="fold", justify="right" if header == "rows" else "left")
    for line in itertools.islice(lines, limit):
        table.add_row(*(cell if isinstance(cell, Text) else Text(shown(cell)) for cell in line))
    console.print(table)
    if len(lines) > limit:
        console.print(Text(f"… and {len(lines) - limit:,} more", "dim"))
