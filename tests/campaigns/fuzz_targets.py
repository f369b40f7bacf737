"""What is done with spoilt bytes, and what must hold whatever they are: an error of ours, or what was written before.

A target takes bytes and the number of the seed that they were made from, and says how it ended: `read`, or the errors'
codes. Any other exception is a finding, and so is `WrongAnswerError`: a row that differs from what was written although
a checksum or a count tells so.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa
from campaigns import fuzz_mutations as mutations
from campaigns import fuzz_readers as readers
from campaigns.fuzz_readers import WrongAnswerError

from transforms.storage.place import Place, open_place

Run = Callable[[bytes, int], str]
HEADER = "other values, by a header"
"""The outcome of a byte of a page's header, which no checksum covers, that gives other values."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A kind of file. `build`: of its seeds, the corpus and a folder of one's own, what is done with spoilt bytes."""

    mutate: mutations.Mutate
    build: Callable[[Sequence[bytes], pathlib.Path, pathlib.Path], Run]


def seeds_of(corpus: pathlib.Path, kind: str) -> list[bytes]:
    """The seeds of one kind."""
    return [path.read_bytes() for path in sorted((corpus / kind).iterdir(), key=lambda path: int(path.name))]


def _records(seeds: Sequence[bytes], corpus: pathlib.Path, own: pathlib.Path) -> Run:
    known = {payload for seed in seeds for payload in mutations.payloads_of(seed)}
    return lambda data, _: readers.read_records(data, "f.tfrecord", known)


def _compressed(seeds: Sequence[bytes], corpus: pathlib.Path, own: pathlib.Path) -> Run:
    known = {payload for seed in seeds_of(corpus, "tfrecord") for payload in mutations.payloads_of(seed)}
    return lambda data, _: readers.read_records(data, "f.tfrecord.gz", known)


def _examples(seeds: Sequence[bytes], corpus: pathlib.Path, own: pathlib.Path) -> Run:
    return lambda data, _: readers.read_examples(data)


def _parquet(seeds: Sequence[bytes], corpus: pathlib.Path, own: pathlib.Path) -> Run:
    def run(data: bytes, seed: int) -> str:
        (own / "f.parquet").write_bytes(data)
        seen = readers.show(str(own / "f.parquet")) if hashlib.sha256(data).digest()[0] % 8 == 0 else ""
        return f"{_by_pages(data, seeds[seed], functools.partial(readers.read_parquet, data))} {seen}"

    return run


def _part(seeds: Sequence[bytes], corpus: pathlib.Path, own: pathlib.Path) -> Run:
    place = open_place(str(own))

    def run(data: bytes, seed: int) -> str:
        (own / "part").write_bytes(data)
        return _by_pages(data, seeds[seed], functools.partial(readers.read_part, place))

    return run


def _by_pages(data: bytes, seed: bytes, read: Callable[[pa.Table | None], str]) -> str:
    """What is read is what was written where one byte of a page was changed, but for its header."""
    if not readers.one_byte_of_a_page(data, seed):
        return read(None)
    try:
        return read(readers.table_of(seed))
    except WrongAnswerError:
        if not readers.unseen_in_a_header(data, seed):
            raise
    return HEADER


def _config(seeds: Sequence[bytes], corpus: pathlib.Path, own: pathlib.Path) -> Run:
    def run(data: bytes, _: int) -> str:
        (own / "c.yaml").write_bytes(data)
        return readers.read_config(own / "c.yaml")

    return run


def _model(name: str) -> Callable[[Sequence[bytes], pathlib.Path, pathlib.Path], Run]:
    def build(seeds: Sequence[bytes], corpus: pathlib.Path, own: pathlib.Path) -> Run:
        path = own / name
        path.parent.mkdir(exist_ok=True)

        def run(data: bytes, _: int) -> str:
            path.write_bytes(data)
            return readers.show(str(path if name.endswith(".keras") else path.parent))

        return run

    return build


def _of_a_run(
    name: str, forged: Iterable[bool], read: Callable[[Place], str]
) -> Callable[[Sequence[bytes], pathlib.Path, pathlib.Path], Run]:
    """A file of a finished run: `verify` finds every change of it, unless the records that vouch for it are forged."""

    def build(seeds: Sequence[bytes], corpus: pathlib.Path, own: pathlib.Path) -> Run:
        shutil.copytree(corpus / "run", own / "run")
        place, manifest = open_place(str(own / "run")), (corpus / "run/_manifest.json").read_bytes()

        def run(data: bytes, _: int) -> str:
            ends = []
            for forging in forged:
                (own / "run" / name).write_bytes(data)
                vouch(own / "run", name, data, manifest, forging)
                if not forging and data != seeds[0] and readers.verified(place) == "holds":
                    raise WrongAnswerError(f"verify does not see that {name} has changed")
                ends.append(read(place))
            return " ".join(ends)

        return run

    return build


def vouch(run: pathlib.Path, name: str, data: bytes, manifest: bytes, forging: bool) -> None:
    """Write the manifest and `_SUCCESS` as they were, or so that they vouch for the bytes of another file."""
    said = manifest
    if name == "_manifest.json":
        said = data if forging else manifest
    else:
        record = json.loads(manifest)
        if forging:
            record["files_sha256"][name] = hashlib.sha256(data).hexdigest()
            said = json.dumps(record).encode()
        (run / "_manifest.json").write_bytes(said)
    (run / "_SUCCESS").write_bytes(hashlib.sha256(said).hexdigest().encode() + b"\n")


def _canary(seeds: Sequence[bytes], corpus: pathlib.Path, own: pathlib.Path) -> Run:
    """What native code may do, to show that it would be found."""

    def run(data: bytes, _: int) -> str:
        match data:
            case b"crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case b"hang":
                time.sleep(10_000)
            case b"memory":
                bytearray(2**40)
            case b"raise":
                raise RuntimeError("no error of ours")
        return "read"

    return run


BOTH = (False, True)
TARGETS = {
    "tfrecord": Target(mutations.records, _records),
    "example": Target(mutations.examples, _examples),
    "compressed": Target(mutations.compressed, _compressed),
    "parquet": Target(mutations.one_byte, _parquet),
    "part": Target(mutations.one_byte, _part),
    "config": Target(mutations.yaml_text, _config),
    "run_json": Target(mutations.json_text, _of_a_run("_run.json", BOTH, readers.read_run_record)),
    "manifest": Target(mutations.json_text, _of_a_run("_manifest.json", BOTH, readers.verified)),
    "files": Target(mutations.one_byte, _of_a_run("_files.parquet", BOTH, readers.verified)),
    "plan": Target(mutations.one_byte, _of_a_run("_plan.parquet", BOTH, readers.read_plan)),
    "saved_model": Target(mutations.saved_model, _model("model/saved_model.pb")),
    "keras": Target(mutations.keras_zip, _model("model.keras")),
}
"""By kind. Of a run's files, once as they stand, and once with records that vouch for the spoilt bytes."""


CANARY = Target(lambda seeds, seed, dice: seeds[seed], _canary)


def built(name: str, corpus: pathlib.Path, own: pathlib.Path) -> tuple[Target, list[bytes], Run]:
    """A target ready to run."""
    target, seeds = TARGETS.get(name, CANARY), seeds_of(corpus, name)
    return target, seeds, target.build(seeds, corpus, own)
