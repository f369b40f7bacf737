"""A Flink session cluster: a job manager, task managers, and for each host the Beam worker pool that runs our code.

Flink's own start scripts are not in the package `apache-flink-libraries`; what they do is done here: memory is laid out
in `config.yaml`, and the JVM opened where Flink reaches into it (docs: "Configuration", "env.java.opts.all").
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from pipeline.flink.distribution import Distribution
from pipeline.flink.processes import Program, Supervisor
from transforms.errors import AttribeamError

ENTRY = "org.apache.flink.runtime"
EXPORTED = ("java.base/sun.net.util", "java.rmi/sun.rmi.registry", "java.security.jgss/sun.security.krb5")
OPENED = ("lang", "net", "io", "nio", "lang.reflect", "text", "time", "util", "util.concurrent")
OPENED_TOO = ("util.concurrent.atomic", "util.concurrent.locks")
START_TIMEOUT_S, POLL_S = 120.0, 0.5
# One JVM of 1.3 GB a task manager: it hands on descriptors of shards, the work is done in Beam's worker.
MEMORY = {
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.task.heap.size": "512m",
    "taskmanager.memory.task.off-heap.size": "64m",
    "taskmanager.memory.network.min": "64m",
    "taskmanager.memory.network.max": "64m",
    "taskmanager.memory.managed.size": "256m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "128m",
    "taskmanager.memory.jvm-overhead.max": "128m",
}
LOGGING = """rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss,SSS} %-5p %-40c{1} - %m%n
"""


@dataclasses.dataclass(frozen=True)
class Host:
    """Where programs run.

    Attributes:
        address: by which the others reach it.
        prefix: put before every command, such as `ip netns exec NAME` or `taskset -c 0`.
    """

    address: str = "localhost"
    prefix: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a cluster consists of.

    Attributes:
        workers: one task manager each.
        slots: of each task manager; a slot works on one shard after the other.
        restarts: how often a job is begun again where it was lost, and `restart_delay_s` before each: longer than an
            idle worker waits (`job.IDLE_WORKER_MS`), for one that is dead would be taken up again.
    """

    manager: Host = Host()
    workers: Sequence[Host] = (Host(), Host())
    slots: int = 1
    restarts: int = 20
    restart_delay_s: int = 10


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster that runs.

    Attributes:
        master: HOST:PORT of Flink's REST interface.
        pool: HOST:PORT of the Beam worker pool, as each task manager sees it.
        supervisor: holds `job-manager`, `task-manager-0` ..., `worker-pool-0` ...
    """

    master: str
    pool: str
    slots: int
    supervisor: Supervisor

    def free_slots(self) -> int:
        """How many slots wait for work; 0 when the job manager does not answer."""
        return int((ask(self.master, "overview") or {}).get("slots-available", 0))

    def jobs(self) -> list[dict[str, Any]]:
        """The jobs that the cluster knows, each with `jid`, `name`, `state`."""
        return list((ask(self.master, "jobs/overview") or {}).get("jobs", []))

    def wait_until_free(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until every slot is free.

        Raises:
            AttribeamError: E_FLINK_CLUSTER, after the time.
        """
        until = time.monotonic() + timeout_s
        while self.free_slots() < self.slots:
            if time.monotonic() > until:
                raise AttribeamError(
                    "E_FLINK_CLUSTER",
                    f"{self.free_slots()} of {self.slots} slots are free at {self.master} after {timeout_s:g} s; the"
                    f" logs are beside {self.supervisor.log('job-manager')}",
                )
            time.sleep(POLL_S)


@contextlib.contextmanager
def running_cluster(distribution: Distribution, folder: pathlib.Path, layout: Layout = Layout()) -> Iterator[Cluster]:
    """A cluster, from when all its slots are free until the block is left.

    Args:
        folder: for configuration and logs; made.

    Raises:
        AttribeamError: E_FLINK_CLUSTER, when it does not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rest, pool = free_port(), free_port()
    write_configuration(folder, layout, rest)
    with Supervisor(folder) as supervisor:
        entry = f"{ENTRY}.entrypoint.StandaloneSessionClusterEntrypoint"
        supervisor.start(Program("job-manager", _jvm(distribution, folder, layout.manager, "1g", entry)))
        for number, host in enumerate(layout.workers):
            named = f"-Dtaskmanager.host={host.address}"
            command = _jvm(distribution, folder, host, "640m", f"{ENTRY}.taskexecutor.TaskManagerRunner")
            supervisor.start(Program(f"task-manager-{number}", [*command, named]))
        for number, host in enumerate(dict.fromkeys(layout.workers)):
            supervisor.start(worker_pool(f"worker-pool-{number}", pool, host))
        slots = layout.slots * len(layout.workers)
        cluster = Cluster(f"{layout.manager.address}:{rest}", f"localhost:{pool}", slots, supervisor)
        cluster.wait_until_free()
        yield cluster


def worker_pool(name: str, port: int, host: Host = Host()) -> Program:
    """Beam's worker pool, which starts a Python process for every task manager that asks; it must find `python`."""
    command = (*host.prefix, sys.executable, "-m", "pipeline.flink.worker_pool", f"--port={port}")
    beside, path = pathlib.Path(sys.executable).parent, sys.path
    return Program(name, command, {"PATH": f"{beside}:/usr/bin:/bin", "PYTHONPATH": ":".join(filter(None, path))})


def write_configuration(folder: pathlib.Path, layout: Layout, rest_port: int) -> None:
    """Flink's `config.yaml` and its logging."""
    address = layout.manager.address
    values: dict[str, Any] = {
        "jobmanager.rpc.address": address,
        "jobmanager.rpc.port": free_port(),
        # of a host of its own, all addresses: the manager's parts reach each other as localhost
        "jobmanager.bind-host": "localhost" if address == "localhost" else "0.0.0.0",
        "rest.address": address,
        "rest.bind-address": address,
        "rest.port": rest_port,
        "taskmanager.numberOfTaskSlots": layout.slots,
        "taskmanager.cpu.cores": 1.0,
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": layout.restarts,
        "restart-strategy.fixed-delay.delay": f"{layout.restart_delay_s} s",
        # a task manager that is gone is missed after 6 s; one that is only silent, its link cut, may come back
        "heartbeat.interval": 3000,  # milliseconds, in every version
        "heartbeat.timeout": 60000,
        "io.tmp.dirs": str(folder),
        "classloader.resolve-order": "parent-first",  # Distribution.class_path
        **MEMORY,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    (folder / "log4j.properties").write_text(LOGGING, encoding="utf-8")


def ask(master: str, what: str) -> dict[str, Any] | None:
    """What Flink's REST interface answers; None when it does not."""
    try:
        with urllib.request.urlopen(f"http://{master}/{what}", timeout=5) as answer:
            return dict(json.load(answer))
    except (OSError, ValueError):
        return None


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _jvm(distribution: Distribution, folder: pathlib.Path, host: Host, heap: str, entry: str) -> list[str]:
    opened = [*(f"java.base/java.{name}" for name in (*OPENED, *OPENED_TOO)), "java.base/sun.nio.ch"]
    reached = [f"--add-opens={name}=ALL-UNNAMED" for name in opened]
    reached += [f"--add-exports={name}=ALL-UNNAMED" for name in EXPORTED]
    logging = f"-Dlog4j.configurationFile=file:{folder / 'log4j.properties'}"
    options = [f"-Xmx{heap}", "-XX:MaxDirectMemorySize=512m", *reached, logging]
    entered = ["-cp", distribution.class_path, entry, "--configDir", str(folder)]
    return [*host.prefix, distribution.java, *options, *entered]
