"""A real S3 server for the tests (moto), and a proxy before it that fails as networks and stores do."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import http.server
import re
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

BUCKET = "bucket"
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "server", "date"}


@dataclasses.dataclass(frozen=True)
class Fault:
    """What befalls requests whose method and path match, until it has befallen `times` of them.

    Attributes:
        request: a regular expression over `METHOD /path?query`.
        status: answered in the store's place; body: with it.
        wait_s: passed before anything is answered; cut: after half of the body the connection is closed.
        swallowed: the request is carried out, and its answer lost.
    """

    request: str
    times: float = float("inf")
    status: int | None = None
    body: bytes = b""
    wait_s: float = 0.0
    cut: bool = False
    swallowed: bool = False


class FaultyProxy(http.server.ThreadingHTTPServer):
    """Hands every request on to a server, but for those that a fault befalls.

    Attributes:
        requests: `METHOD /path?query` of every request, in order.
        faults: of which the first that matches counts.
    """

    daemon_threads = True

    def __init__(self, upstream: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.lock = upstream, threading.Lock()
        self.requests: list[str] = []
        self.faults: Sequence[Fault] = ()
        self._befallen: dict[Fault, int] = {}

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fail(self, *faults: Fault) -> None:
        """From here on, these; and the requests are counted anew."""
        with self.lock:
            self.faults, self._befallen = faults, {}
            self.requests.clear()

    def matching(self, pattern: str) -> list[str]:
        """The requests so far that match."""
        return [request for request in self.requests if re.search(pattern, request)]

    def befalls(self, request: str) -> Fault | None:
        """The fault of a request, which is counted."""
        with self.lock:
            self.requests.append(request)
            for fault in self.faults:
                if re.search(fault.request, request) and self._befallen.get(fault, 0) < fault.times:
                    self._befallen[fault] = self._befallen.get(fault, 0) + 1
                    return fault
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no error."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""

    def _serve(self) -> None:
        fault = self.server.befalls(f"{self.command} {self.path}")
        sent = self._sent()
        if fault is None:
            self._answer(*self._upstream(sent))
            return
        if fault.wait_s:
            time.sleep(fault.wait_s)
        if fault.status is not None:
            self._answer(fault.status, [("Content-Type", "application/xml")], fault.body)
            return
        status, headers, body = self._upstream(sent)
        if fault.swallowed:
            self.close_connection = True
        elif fault.cut:
            self._answer(status, headers, body, len(body) // 2)
            self.close_connection = True
        else:
            self._answer(status, headers, body)

    def _sent(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _upstream(self, sent: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(*self.server.upstream)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        connection.request(self.command, self.path, sent or None, headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), body

    def _answer(self, status: int, headers: Any, body: bytes, stop: int | None = None) -> None:
        self.send_response_only(status)
        kept = [(name, value) for name, value in headers if name.lower() not in {*HOP_BY_HOP, "content-length"}]
        length = dict(headers).get("Content-Length") if self.command == "HEAD" else None
        for name, value in [*kept, ("Content-Length", length or str(len(body)))]:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:stop])


@contextlib.contextmanager
def s3_server() -> Iterator[FaultyProxy]:
    """moto with one empty bucket, behind a proxy."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    with serving(server.get_host_and_port()) as proxy:
        bucket = urllib.request.Request(f"{proxy.url}/{BUCKET}", method="PUT")
        with urllib.request.urlopen(bucket):
            yield proxy
    server.stop()


@contextlib.contextmanager
def serving(upstream: tuple[str, int]) -> Iterator[FaultyProxy]:
    """A proxy before a server."""
    with FaultyProxy(upstream) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()
