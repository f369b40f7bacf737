"""Beam's worker pool for several task managers on one host: `python -m pipeline.flink.worker_pool --port N`.

Beam's own (`apache_beam.runners.worker.worker_pool_main`) keeps workers under the ids that a task manager gives them,
and every task manager counts from 1: where two share a pool, one stops the other's worker. Here a worker is stopped
when the task manager that it serves no longer listens; all else is Beam's.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import socket
import subprocess
import time
from types import FrameType

import grpc
from apache_beam.portability.api import beam_fn_api_pb2 as api
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer, kill_process_gracefully
from apache_beam.utils import thread_pool_executor

PERIOD_S, CONNECT_S = 2.0, 1.0


class _Pool(BeamFnExternalWorkerPoolServicer):  # type: ignore[misc]
    """Workers under the control endpoint that they talk to, which no two task managers have in common."""

    def __init__(self) -> None:
        super().__init__(use_process=True)
        self._serving: dict[str, subprocess.Popen[bytes]] = {}

    def StartWorker(self, request: api.StartWorkerRequest, context: grpc.ServicerContext) -> api.StartWorkerResponse:  # noqa: N802
        """As Beam does."""
        answer = super().StartWorker(request, context)
        worker = self._worker_processes.pop(request.worker_id, None)
        if worker is not None:
            self._serving[request.control_endpoint.url] = worker
        return answer

    def StopWorker(self, request: api.StopWorkerRequest, context: grpc.ServicerContext) -> api.StopWorkerResponse:  # noqa: N802
        """Left to `sweep`: the id does not tell whose worker it is."""
        return api.StopWorkerResponse()

    def sweep(self) -> None:
        """Stop the workers that nobody listens to any more, and forget those that have ended."""
        for endpoint, worker in list(self._serving.items()):
            if worker.poll() is None and listens(endpoint):
                continue
            if worker.poll() is None:
                kill_process_gracefully(worker)
            del self._serving[endpoint]

    def stop(self) -> None:
        """Stop every worker."""
        for worker in self._serving.values():
            kill_process_gracefully(worker)


def listens(endpoint: str) -> bool:
    """Whether anything accepts connections at HOST:PORT."""
    host, _, port = endpoint.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), CONNECT_S):
        return True
    return False


def serve(port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    pool = _Pool()
    server = grpc.server(thread_pool_executor.shared_unbounded_instance())
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    server.add_insecure_port(f"[::]:{port}")
    server.start()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        while True:
            time.sleep(PERIOD_S)
            pool.sweep()
    except KeyboardInterrupt:
        server.stop(0)
        pool.stop()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    parser = argparse.ArgumentParser("pipeline.flink.worker_pool")
    parser.add_argument("--port", type=int, required=True)
    serve(parser.parse_args().port)
