"""A real S3 server for the tests (moto), and a proxy before it that fails as networks and stores do."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import http.server
import json
import logging
import pathlib
import re
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.config import JobConfig
from transforms.storage.bucket import Bucket, Patience
from transforms.storage.url import parse_url

BUCKET = "bucket"
SHORT = Patience(tries=3, first_wait_s=0.01, longest_wait_s=0.02, answer_s=20.0, upload_s=20.0)
HASTY = dataclasses.replace(SHORT, answer_s=1.5, upload_s=1.5)
# Planted, to be found nowhere. moto takes any.
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIACANARYCANARY0001",
    "AWS_SECRET_ACCESS_KEY": "canary/secret+0002",
    "AWS_SESSION_TOKEN": "canary-token-0003",
}
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}


@dataclasses.dataclass(frozen=True)
class Fault:
    """What befalls requests whose method and path match, until it has befallen `times` of them.

    Attributes:
        request: a regular expression over `METHOD /path?query`.
        status: answered in the store's place; body: with it.
        wait_s: passed before anything is answered; cut: after half of the body the connection is closed.
        swallowed: the request is carried out, and its answer lost.
        torn: half of the request's body reaches the store, and then nothing more.
        short: half of the answer's body comes, as if it were all of it.
        after: so many requests that match are let through before.
    """

    request: str
    times: float = float("inf")
    status: int | None = None
    body: bytes = b""
    wait_s: float = 0.0
    cut: bool = False
    swallowed: bool = False
    torn: bool = False
    short: bool = False
    after: int = 0


class FaultyProxy(http.server.ThreadingHTTPServer):
    """Hands every request on to a server, but for those that a fault befalls.

    Attributes:
        requests: `METHOD /path?query` of every request, in order.
        sent: bytes of all bodies that were answered.
        said_as: what the server is told in place of these headers; "": besides all.
        faults: of which the first that matches counts.
    """

    daemon_threads = True

    def __init__(self, upstream: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.lock = upstream, threading.Lock()
        self.requests: list[str] = []
        self.sent = 0
        self.said_as: dict[str, tuple[str, str]] = {}
        self.faults: Sequence[Fault] = ()
        self._befallen: dict[Fault, int] = {}
        self._passed: dict[Fault, int] = {}

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fail(self, *faults: Fault) -> None:
        """From here on, these; and the requests are counted anew."""
        with self.lock:
            self.faults, self._befallen, self._passed = faults, {}, {}
            self.requests.clear()
            self.sent = 0

    def matching(self, pattern: str) -> list[str]:
        """The requests so far that match."""
        return [request for request in self.requests if re.search(pattern, request)]

    def befallen(self) -> dict[Fault, int]:
        """How often each fault was met."""
        return dict(self._befallen)

    def befalls(self, request: str) -> Fault | None:
        """The fault of a request, which is counted."""
        with self.lock:
            self.requests.append(request)
            for fault in self.faults:
                if not re.search(fault.request, request):
                    continue
                self._passed[fault] = self._passed.get(fault, 0) + 1
                if self._passed[fault] > fault.after and self._befallen.get(fault, 0) < fault.times:
                    self._befallen[fault] = self._befallen.get(fault, 0) + 1
                    return fault
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no error."""


def environment(url: str) -> dict[str, str]:
    """What names a server, and the canaries as its credentials."""
    return {**SECRETS, "AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}


def speaking_gs(proxy: FaultyProxy) -> dict[str, str]:
    """From here on the proxy takes the words of Cloud Storage's XML API for the S3 server behind; its environment."""
    # moto wants a signature of S3's; any will do
    signed = "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=any"
    proxy.said_as = {"x-goog-if-generation-match": ("If-None-Match", "*"), "authorization": ("X-Other", "any")}
    proxy.said_as[""] = ("Authorization", signed)
    nobody = {"client_email": "", "private_key": "", "private_key_id": ""}
    key = {"gcs_base_url": proxy.url, "disable_oauth": True, **nobody}
    return {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(key), "GOOGLE_ALLOW_HTTP": "true"}


@dataclasses.dataclass(frozen=True)
class Store:
    """A prefix of a bucket, and the proxy that stands before it."""

    url: str
    proxy: FaultyProxy

    def put(self, path: pathlib.Path, name: str = "") -> str:
        """Copy a file, or a folder with all that is in it; its URL."""
        url = parse_url(f"{self.url}/{name or path.name}")
        files = [(path, url.key)] if path.is_file() else []
        files += [
            (file, f"{url.key}/{file.relative_to(path).as_posix()}") for file in path.rglob("*") if file.is_file()
        ]
        for file, key in files:
            assert Bucket(url).create(key, file)
        return str(url)

    def take(self, job: JobConfig, out: str, rows: str) -> JobConfig:
        """A job of one local file, with its model, that file as the object `rows`, and its output here."""
        model = pathlib.Path(job.model.path)
        files = self.put(pathlib.Path(job.input.files[0]), rows).rpartition("/")[0] + "/*"
        values = {
            "model": {"path": self.put(model, f"{out}-model/{model.name}")},
            "input": {"files": [files]},
            "output": {"path": f"{self.url}/{out}"},
        }
        return job.model_copy(update={key: getattr(job, key).model_copy(update=new) for key, new in values.items()})

    def names(self) -> list[str]:
        """Of all objects below the prefix."""
        url = parse_url(self.url)
        return [stored.key.removeprefix(f"{url.key}/") for stored in Bucket(url).list(url.key)]

    def get(self, name: str) -> bytes:
        """An object."""
        url = parse_url(f"{self.url}/{name}")
        with Bucket(url).open(url.key) as file:
            return file.read()

    def download(self, folder: pathlib.Path) -> pathlib.Path:
        """Copy all of it."""
        for name in self.names():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(self.get(name))
        return folder


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
        if fault.torn:
            self._upstream(sent, len(sent) // 2)
            self.close_connection = True
            return
        status, headers, body = self._upstream(sent)
        if fault.swallowed:
            self.close_connection = True
        elif fault.short:
            self._answer(status, headers, body[: len(body) // 2])
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

    def _upstream(self, sent: bytes, stop: int | None = None) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(*self.server.upstream)
        with contextlib.closing(connection):
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {*HOP_BY_HOP, "content-length"}:
                    connection.putheader(*self.server.said_as.get(name.lower(), (name, value)))
            connection.putheader("Content-Length", str(len(sent)))
            if "" in self.server.said_as:
                connection.putheader(*self.server.said_as[""])
            connection.endheaders(sent[:stop])
            if stop is not None:
                return 0, [], b""
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()

    def _answer(self, status: int, headers: Any, body: bytes, stop: int | None = None) -> None:
        self.send_response_only(status)
        kept = [(name, value) for name, value in headers if name.lower() not in {*HOP_BY_HOP, "content-length"}]
        told = {name.lower(): value for name, value in headers}
        length = told.get("content-length") if self.command == "HEAD" else None
        for name, value in [*kept, ("Content-Length", length or str(len(body)))]:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.server.sent += len(body[:stop])
            self.wfile.write(body[:stop])


@contextlib.contextmanager
def s3_server() -> Iterator[FaultyProxy]:
    """moto with one empty bucket, behind a proxy."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request
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
