"""`launch_scripts/flink.sh`, once its environment is there: a cluster, a run on it, and nothing left behind."""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from types import FrameType

from pipeline.flink import cluster as flink
from pipeline.flink.distribution import CACHE, find_distribution, find_job_server
from pipeline.flink.job import Target, start_run
from pipeline.flink.processes import Supervisor
from transforms.errors import AttribeamError, UsageError

INTERRUPTED = 75


def main(arguments: Sequence[str]) -> int:
    """Run a job on Flink; the exit code is that of `attribeam run`."""
    own, beam = list(arguments), list[str]()
    if "--" in own:
        own, beam = own[: own.index("--")], own[own.index("--") + 1 :]
    options, given = _parser().parse_known_args(own)
    folder = pathlib.Path(options.logs or tempfile.mkdtemp(prefix="attribeam-flink-"))
    try:
        with _target(options, folder) as target:
            print(f"Flink {target.version} at http://{target.master}, {target.parallelism} slots; logs in {folder}")
            return _finish(start_run(target, [options.config, *given], beam))
    except AttribeamError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


@contextlib.contextmanager
def _target(options: argparse.Namespace, folder: pathlib.Path) -> Iterator[Target]:
    """A cluster of our own, or the one that is named."""
    folder.mkdir(parents=True, exist_ok=True)
    if options.flink_master:
        version, slots = _existing(options.flink_master)
        server = options.job_server_jar or find_job_server(version, CACHE)
        if options.worker_pool:
            yield Target(options.flink_master, version, server, options.worker_pool, slots)
            return
        port = flink.free_port()
        with Supervisor(folder) as supervisor:
            supervisor.start(flink.worker_pool("worker-pool-0", port))
            yield Target(options.flink_master, version, server, f"localhost:{port}", slots)
        return
    distribution = find_distribution(options.job_server_jar)
    layout = flink.Layout(workers=(flink.Host(),) * options.task_managers, slots=options.slots)
    with flink.running_cluster(distribution, folder, layout) as cluster:
        yield Target(cluster.master, distribution.version, distribution.job_server, cluster.pool, cluster.slots)


def _existing(master: str) -> tuple[str, int]:
    """The version and the slots of a cluster that is there.

    Raises:
        UsageError: E_FLINK_CLUSTER.
    """
    overview = flink.ask(master, "overview")
    if not overview or not overview.get("slots-total"):
        raise UsageError(
            "E_FLINK_CLUSTER",
            f"no Flink cluster with task managers answers at {master}; give HOST:PORT of its REST interface",
        )
    return ".".join(str(overview["flink-version"]).split(".")[:2]), int(overview["slots-total"])


def _finish(run: subprocess.Popen[bytes]) -> int:
    try:
        return run.wait()
    except KeyboardInterrupt:
        run.terminate()
        return run.wait()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "flink.sh",
        description="Run a job on a Flink cluster, started for it or there already. What is not listed here goes to"
        " `attribeam run`.",
        allow_abbrev=False,
    )
    parser.add_argument("config", metavar="CONFIG.yaml")
    parser.add_argument("--flink-master", metavar="HOST:PORT", help="use this cluster; none is started")
    parser.add_argument(
        "--worker-pool",
        metavar="HOST:PORT",
        help="with --flink-master: the Beam worker pool as the task managers see it; else one is started here",
    )
    parser.add_argument("--task-managers", type=int, default=2, metavar="N", help="of the cluster started (2)")
    parser.add_argument("--slots", type=int, default=1, metavar="N", help="of each task manager (1)")
    parser.add_argument("--job-server-jar", type=pathlib.Path, metavar="PATH", help="Beam's Flink job server")
    parser.add_argument("--logs", metavar="DIR", help="configuration and logs of the cluster (a new temporary folder)")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main(sys.argv[1:]))
