"""What an audit costs: time beside pyarrow's own reading of the same parts, and memory.

Two runs of drawn attributions, 10^6 rows of 30 features and 10^4 images of 28 × 28, in parts as a run writes them; each
measured in a process of its own, in turn, five times. Processor seconds count beside those of the clock, for on a
machine that is not idle only they mean anything. pandas is imported before: pyarrow does so at the first occasion, and
that would be half of the reading of the images. The parts are made by a module of the tests.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from synthetic_parts import columns_of, part

from benchmarks.report import spread, store
from transforms.attribution.engine.memory import peak_memory_bytes
from transforms.auditing.audited_parts import AuditJob, audit_parts
from transforms.records.part_writer import PartWriter
from transforms.storage.place import open_place

# Name: shape of a map, rows, rows of a part.
CASES = {"10^6 rows x 30": ((30,), 1_000_000, 500_000), "10^4 rows x 28x28": ((28, 28, 1), 10_000, 5_000)}
ROUNDS = 5


def write_run(folder: pathlib.Path, shape: tuple[int, ...], rows: int, part_rows: int) -> None:
    """Parts of drawn attributions, with ten labels, predictions of which a tenth is wrong, and a kept column."""
    columns, draw = columns_of({"input": shape}), np.random.default_rng(0)
    for number, first in enumerate(range(0, rows, part_rows)):
        label = draw.integers(0, 10, part_rows)
        predicted = np.where(draw.random(part_rows) < 0.9, label, draw.integers(0, 10, part_rows))
        carried = {"label": pa.array(label), "split": pa.array(draw.choice(["day", "night"], part_rows))}
        maps = {"input": draw.standard_normal((part_rows, *shape), np.float32)}
        table = part(maps, columns, carried, number, first=first, file=f"{number}.parquet", predicted=predicted)
        with PartWriter(folder / f"part-{number:05d}.parquet", lambda schema=table.schema: schema) as writer:
            for batch in table.to_batches(max_chunksize=4096):
                writer.write(batch)


def measure(what: str, folder: pathlib.Path) -> dict[str, float]:
    """Seconds of the clock and of the processors, and the largest memory of this process, beside what it began with."""
    pa.array(pd.Series([0]))
    names = sorted(path.name for path in folder.glob("part-*.parquet"))
    before = peak_memory_bytes()
    clock, processor = time.perf_counter(), time.process_time()
    if what == "audit":
        audit_parts(names, AuditJob(str(folder)), open_place(str(folder)))
    else:
        for name in names:  # a part at a time, with all of pyarrow's threads
            pq.read_table(folder / name)
    seconds, processor_s = time.perf_counter() - clock, time.process_time() - processor
    peak = peak_memory_bytes()
    return {"seconds": seconds, "processor_s": processor_s, "peak_mib": peak / 2**20, "idle_mib": before / 2**20}


def in_a_process(what: str, folder: str) -> dict[str, float]:
    """`measure`, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.audit", "--measure", what, folder]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(shape: tuple[int, ...], rows: int, part_rows: int) -> dict[str, object]:
    """The audit beside the reading of one run."""
    with tempfile.TemporaryDirectory() as folder:
        write_run(pathlib.Path(folder), shape, rows, part_rows)
        size = sum(path.stat().st_size for path in pathlib.Path(folder).iterdir())
        measured = [{what: in_a_process(what, folder) for what in ("read", "audit")} for _ in range(ROUNDS)]
    ratios = {
        key: spread([one["audit"][key] / one["read"][key] for one in measured]) for key in ("seconds", "processor_s")
    }
    return {"file_mib": size / 2**20, "measured": measured, "audit_over_read": ratios}


def main() -> None:
    """Write the runs, measure, and keep the results."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=pathlib.Path)
    arguments.add_argument("--measure", nargs=2, metavar=("WHAT", "FOLDER"))
    given = arguments.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure[0], pathlib.Path(given.measure[1]))))
        return
    results = {}
    for name, case in CASES.items():
        results[name] = compare(*case)
        print(name, json.dumps(results[name]["audit_over_read"]), flush=True)
    store({"cases": results}, given.out)


if __name__ == "__main__":
    main()
