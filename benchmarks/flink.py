"""Throughput on Flink: two workers of one core each against two local single-core runs side by side.

    python -m benchmarks.flink [--rows 48000] [--rounds 5] [--out benchmarks/results/flink.json]     (root, Linux)

Both have the same cores, model and rows; rows per second are counted from when the first part is there to the last,
so that what a cluster takes to start is left out; `seconds` holds it. Each Flink worker is a host in a network
namespace of its own, pinned with its task manager to a core. The two take turns in being first; every pair counts.
ATTRIBEAM_FLINK_JOB_SERVER names a job server that is there.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pyarrow.parquet as pq
import yaml

from benchmarks import report
from benchmarks.scaling import case
from pipeline.flink import namespaces
from pipeline.flink.cluster import Host, Layout, running_cluster
from pipeline.flink.distribution import find_distribution
from pipeline.flink.job import Target, beam_options

WORKERS, WIDTH, STEPS, BATCH, SHARD_ROWS = 2, 256, 256, 256, 200


def write_config(folder: pathlib.Path, rows: int, half: int) -> pathlib.Path:
    """A job of one half of the rows, or with -1 of both."""
    path = folder / f"part{half}"
    path.mkdir()
    values = case(rows, WIDTH).save(path)
    values["attribution"] |= {"steps": STEPS, "batch_size": BATCH, "hoist": False}
    values["output"] = {"path": str(path / "out"), "shard_bytes": SHARD_ROWS * (WIDTH * 4 + 64)}
    (path / "job.yaml").write_text(yaml.safe_dump(values))
    return path


def run(path: pathlib.Path, prefix: Sequence[str] = (), options: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """`attribeam run`, started."""
    command = [*prefix, sys.executable, "-m", "pipeline.main", "run", str(path / "job.yaml"), "--", *options]
    with (path / "log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def measured(paths: Sequence[pathlib.Path], start: Callable[[], list[subprocess.Popen[bytes]]]) -> dict[str, float]:
    """Rows per second between the first part and the last, and seconds of all of it."""
    started = time.time()
    codes = [process.wait() for process in start()]
    if any(codes):
        raise SystemExit("\n".join([(path / "log").read_text() for path in paths] + ["a run has failed"]))
    seconds, parts = time.time() - started, [part for path in paths for part in (path / "out").glob("part-*.parquet")]
    written = sorted((part.stat().st_mtime, pq.read_metadata(part).num_rows) for part in parts)
    rows = sum(rows for _, rows in written[1:])
    return {"rows_per_second": rows / (written[-1][0] - written[0][0]), "seconds": seconds}


def on_flink(folder: pathlib.Path, rows: int) -> dict[str, float]:
    """All rows by two workers of one core each."""
    path, named = write_config(folder, rows, -1), os.environ.get("ATTRIBEAM_FLINK_JOB_SERVER")
    distribution = find_distribution(pathlib.Path(named) if named else None)
    with namespaces.hosts(WORKERS + 1) as (manager, *hosts):
        pinned = [Host(host.address, (*host.prefix, "taskset", "-c", str(core))) for core, host in enumerate(hosts)]
        with running_cluster(distribution, folder / "flink", Layout(manager, pinned)) as cluster:
            server = distribution.job_server
            target = Target(cluster.master, distribution.version, server, cluster.pool, cluster.slots)
            return measured([path], lambda: [run(path, (), beam_options(target))])


def side_by_side(folder: pathlib.Path, rows: int) -> dict[str, float]:
    """Half of the rows each by two local runs of one core."""
    paths = [write_config(folder, rows // WORKERS, half) for half in range(WORKERS)]
    return measured(paths, lambda: [run(path, ("taskset", "-c", str(core))) for core, path in enumerate(paths)])


def pair(number: int, rows: int) -> dict[str, dict[str, float]]:
    """Both, one after the other; in every second pair Flink first."""
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        both = [("local", lambda: side_by_side(place, rows)), ("flink", lambda: on_flink(place, rows))]
        found = {name: measure() for name, measure in (reversed(both) if number % 2 else both)}
    for name, of_it in found.items():
        print(f"{name:6} {of_it['rows_per_second']:8.1f} rows/s, {of_it['seconds']:6.1f} s in all", flush=True)
    return found


def main() -> None:
    """Measure, print, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=48000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    pairs = [pair(number, arguments.rows) for number in range(arguments.rounds)]
    ratio = report.spread([one["flink"]["rows_per_second"] / one["local"]["rows_per_second"] for one in pairs])
    print(f"Flink is at {ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f}) of two local runs (asked: 0.8)")
    report.store({"rows": arguments.rows, "pairs": pairs, "ratio": ratio}, arguments.out)


if __name__ == "__main__":
    main()
