"""What a Flink job needs, looked at before anything is prepared."""

from __future__ import annotations

import pathlib

from pipeline.flink.cluster import ask
from pipeline.flink.distribution import CACHE, find_java, find_job_server
from transforms.errors import UsageError

LOCAL = ("[local]", "[auto]", "[collection]")


def checked_job_server(master: str, version: str, jar: str | None) -> str:
    """The job server that Beam is to start, once Java and the cluster are found to be there.

    Args:
        master: as in `--flink_master`; jar: a path or URL, None when none is named.

    Raises:
        UsageError: E_FLINK_JAVA, E_FLINK_CLUSTER, E_FLINK_JOB_SERVER.
    """
    find_java()
    address = master.strip().removeprefix("http://")
    if address not in LOCAL and "://" not in address and ask(address, "overview") is None:
        raise UsageError(
            "E_FLINK_CLUSTER", f"no Flink cluster answers at {master}; give HOST:PORT of its REST interface"
        )
    if jar is None:
        return str(find_job_server(version, CACHE))
    if "://" not in jar and not pathlib.Path(jar).is_file():
        raise UsageError("E_FLINK_JOB_SERVER", f"--flink_job_server_jar names {jar}, which is not there")
    return jar
