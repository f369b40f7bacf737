"""What the product does with a file from a stranger, call by call, each with what must hold of the answer."""

from __future__ import annotations

import functools
import io
import json
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from campaigns.fuzz_mutations import payloads_of
from rich.console import Console

from transforms.errors import MAX_MESSAGE_CHARACTERS, AttribeamError, Fault
from transforms.records import part, source, tfrecord
from transforms.records.byte_stream import ByteStream
from transforms.records.config import FeatureConfig
from transforms.records.examples import Layout, extract
from transforms.records.feature import resolve
from transforms.records.ragged import Ragged
from transforms.records.source import RawBatch, RowRange, Selection, Source
from transforms.runs.file_list import read_file_list
from transforms.runs.verify import completeness_faults, verify_run
from transforms.storage.manifest import PART
from transforms.storage.place import Place

LIMIT = 2**20


class WrongAnswerError(Exception):
    """Something was taken for right that is not."""


def expect(held: bool, what: str) -> None:
    """Raise `WrongAnswerError` unless it held."""
    if not held:
        raise WrongAnswerError(what)


def outcome(call: Callable[[], Any]) -> str:
    """`read`, or the code of the error; whatever else is raised is a finding."""
    try:
        call()
    except AttribeamError as error:
        expect(len(str(error)) <= MAX_MESSAGE_CHARACTERS, f"a message of {len(str(error))} characters")
        expect(str(error).isprintable(), f"a message that is not printable: {error!r}")
        return error.code
    return "read"


def short(faults: Iterable[Fault]) -> None:
    """Every message within its bounds."""
    for fault in faults:
        expect(len(fault.message) <= MAX_MESSAGE_CHARACTERS, f"a message of {len(fault.message)} characters")


def one_byte_of_a_page(data: bytes, seed: bytes) -> bool:
    """Whether one byte differs, and it is one of a page or its header: no checksum covers the footer."""
    if len(data) != len(seed) or data == seed:
        return False
    changed = np.flatnonzero(np.frombuffer(data, np.uint8) != np.frombuffer(seed, np.uint8))
    return len(changed) == 1 and 4 <= int(changed[0]) < len(seed) - 8 - int.from_bytes(seed[-8:-4], "little")


def unseen_in_a_header(data: bytes, seed: bytes) -> bool:
    """Whether the byte that differs is one that no checksum of a page covers: no checksum tells of another change."""
    at = int(np.flatnonzero(np.frombuffer(data, np.uint8) != np.frombuffer(seed, np.uint8))[0])
    other = bytearray(seed)
    other[at] ^= 1
    try:
        pq.ParquetFile(io.BytesIO(other), page_checksum_verification=True).read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        return "CRC" not in str(error)
    return True


def table_of(seed: bytes) -> pa.Table:
    """What a Parquet file holds."""
    return pq.read_table(io.BytesIO(seed))


def read_records(data: bytes, name: str, known: set[bytes]) -> str:
    """Every payload given is one that was written, as many as the index counts; and both find the same fault."""
    codec = tfrecord.detect_codec(name, data[: tfrecord.HEADER_BYTES])
    rows: list[bytes | Fault] = []

    def read() -> None:
        for row in tfrecord.records(ByteStream(io.BytesIO(data), name, codec, AttribeamError), 0, LIMIT):
            rows.append(row)

    ends, counted = outcome(read), list[source.FileSummary]()
    indexed = outcome(lambda: counted.append(source.index_file(io.BytesIO(data), name, "tfrecord")))
    expect(all(isinstance(row, Fault) or row in known for row in rows), "a payload that was never written")
    expect(ends == indexed or not data, f"reading ends with {ends}, indexing with {indexed}")
    expect(not counted or counted[0].rows == len(rows), f"{len(rows)} rows are read, another number counted")
    short(row for row in rows if isinstance(row, Fault))
    return indexed


@functools.cache
def layout() -> Layout:
    """Numbers, rows of varying length, raw bytes, an id, a label, and columns of several types that are carried."""
    config = FeatureConfig
    inputs = (
        resolve("x", config(column="x"), (2,), "float32"),
        resolve("s", config(column="s", shape=(None,)), (None,), "float32", 5),
        resolve("r", config(column="r", shape=(3,), dtype="uint8", decode="raw"), (3,), "float32"),
    )
    carried = {"label": pa.int64(), "b": pa.string(), "many": pa.list_(pa.int64())}
    return Layout(inputs, id="id", label="y", target_is_label=True, carried=carried)


def extracted(batch: RawBatch) -> None:
    """Each row explained or refused, none both; what is explained is finite."""
    examples, refusals = extract(batch, layout(), "f")
    rows = sorted([*examples.source_rows.tolist(), *(refusal.source_row for refusal in refusals)])
    expect(rows == list(range(batch.first_row, batch.first_row + batch.table.num_rows)), f"rows {rows}")
    short(refusal.fault for refusal in refusals)
    for values in examples.inputs.values():
        held = values.values if isinstance(values, Ragged) else values
        expect(bool(np.isfinite(held).all()), "a value that is not finite")
    for array in examples.carried.values():
        array.validate(full=True)


def read_examples(data: bytes) -> str:
    """The values given of a payload are those that protocol buffers give of it."""
    columns, payloads = layout().columns, payloads_of(data)
    rows = RowRange(0, len(payloads))
    seen = set[str]()
    for batch in source.read_rows(io.BytesIO(data), Source("f", "tfrecord"), Selection(columns, rows, 4)):
        short(batch.faults.values())
        seen |= {fault.code for fault in batch.faults.values()}
        for at, payload in enumerate(payloads[batch.first_row :][: batch.table.num_rows]):
            if at not in batch.faults:
                _same_values(batch.table.slice(at, 1), payload)
        extracted(batch)
    return " ".join(sorted(seen)) or "read"


def _same_values(row: pa.RecordBatch, payload: bytes) -> None:
    from tensorflow.core.example import example_pb2

    parsed = example_pb2.Example.FromString(payload).features.feature
    for name, column in zip(row.schema.names, row.columns, strict=True):
        kind = parsed[name].WhichOneof("kind") if name in parsed else None
        wanted = None if kind is None else list(getattr(parsed[name], kind).value)
        found = column[0].as_py()
        same = found == wanted or (found is not None and len(found) == len(wanted) and _as_text(found, wanted))
        expect(same, f"{name} is {found}, not {wanted}")


def _as_text(found: Sequence[Any], wanted: Sequence[Any]) -> bool:
    return list(map(repr, found)) == list(map(repr, wanted))  # NaN is itself


def read_parquet(data: bytes, known: pa.Table | None) -> str:
    """Rows are those that were written wherever one byte of a page was changed; `known`: these, or None."""
    counted = list[source.FileSummary]()
    indexed = outcome(lambda: counted.append(source.index_file(io.BytesIO(data), "f.parquet", "parquet")))
    rows = min(counted[0].rows, 1000) if counted else 1
    names = list[str]()
    schema = outcome(lambda: names.extend(source.schema_of(io.BytesIO(data), "f.parquet", "parquet", "none")))

    def read(columns: Sequence[str], use: Callable[[RawBatch], None]) -> None:
        stored, selection = Source("f.parquet", "parquet"), Selection(tuple(columns), RowRange(0, rows), 4)
        for batch in source.read_rows(io.BytesIO(data), stored, selection):
            if known is not None:
                wanted = known.select(list(columns)).slice(batch.first_row, batch.table.num_rows)
                expect(pa.Table.from_batches([batch.table]).equals(wanted), f"rows from {batch.first_row} are others")
            use(batch)

    every = outcome(lambda: read(names, lambda _: None))
    return " ".join((indexed, schema, every, outcome(lambda: read(layout().columns, extracted))))


def read_part(place: Place, known: pa.Table | None) -> str:
    """What is counted of a part is what was written, wherever one byte of a page was changed."""
    counted, codes = list[part.Totals](), list[list[tuple[int, str]]]()

    def opened(use: Callable[[Any], Any]) -> str:
        with place.open("part") as file:
            return outcome(lambda: use(file))

    ends = [opened(lambda file: part.read_footer(file, "part"))]
    ends.append(opened(lambda file: counted.append(part.read_totals(file, "part")[1])))
    ends.append(opened(lambda file: codes.append(part.read_refused(file, "part"))))
    ends.append("adds up" if not completeness_faults(place, "part") else "does not")
    if known is not None and "steps" in known.column_names and counted:
        expect(counted[0].source_rows.tolist() == known["source_row"].to_pylist(), "other rows")
        expect(counted[0].gradients == sum(known["steps"].to_pylist()), "another number of gradients")
    if known is not None and "code" in known.column_names and codes:
        wanted = list(zip(known["source_row"].to_pylist(), known["code"].to_pylist(), strict=True))
        expect(codes[0] == wanted, "other refused rows, or codes")
    return " ".join(ends)


def read_config(path: pathlib.Path) -> str:
    """A configuration that is taken is the same when it was written down and read again."""
    from pipeline.config import load_config, parse_config

    loaded = list[Any]()
    ends = outcome(lambda: loaded.append(load_config(path)))
    if loaded:
        text = json.dumps(loaded[0].model_dump(mode="json"))
        expect(json.dumps(parse_config(json.loads(text)).model_dump(mode="json")) == text, "it does not round-trip")
    return ends


def verified(place: Place) -> str:
    """What `verify --deep` says: `holds`, `faults`, or the code of its error."""
    found = list[str]()
    ends = outcome(lambda: found.extend(verify_run(place, deep=True)))
    expect(all(len(fault) <= MAX_MESSAGE_CHARACTERS and fault.isprintable() for fault in found), "a long line")
    return "faults" if found else "holds" if ends == "read" else ends


def read_run_record(place: Place) -> str:
    """What is read of `_run.json` for a resume, for `status` and for `evaluate`."""
    from pipeline.evaluation import read_run
    from pipeline.launch import known_before
    from pipeline.status import open_watch

    readers = (lambda place: open_watch(place).look(), known_before, read_run, verified)
    return " ".join(outcome(lambda read=read: read(place)) for read in readers)


def read_plan(place: Place) -> str:
    """What is read of `_plan.parquet`, all of it checked against the run's own `_run.json`."""
    from pipeline.launch import known_before
    from pipeline.status import open_watch
    from transforms.runs.plan_file import fingerprint_of, read_shards
    from transforms.storage.manifest import read_run

    fingerprint = read_run(place)["fingerprint"]
    numbers = range(sum(PART.fullmatch(name) is not None for name in read_file_list(place)))
    calls = (
        lambda: open_watch(place).look(),
        lambda: known_before(place),
        lambda: fingerprint_of(place),
        lambda: read_shards(place, fingerprint, numbers),
    )
    return " ".join([*map(outcome, calls), verified(place)])


def show(path: str) -> str:
    """`attribeam inspect`: what it prints obeys no one."""
    from pipeline.inspection import inspect_path

    printed = io.StringIO()
    ends = outcome(lambda: inspect_path(path, Console(file=printed, width=120)))
    unsafe = {mark for mark in printed.getvalue() if not mark.isprintable() and mark != "\n"}
    expect(not unsafe, f"it prints {sorted(map(repr, unsafe))}")
    return ends
