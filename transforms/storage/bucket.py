"""A bucket of an object store. Each request is tried a bounded number of times, and then fails by name.

obstore tries again too, but not writes that time out nor listings that are cut, and by default gives up after two
seconds (measured, 0.12.1). Everything asked for here can be asked for again: whoever writes an object only where there
is none finds at worst his own. (https://developmentseed.org/obstore/latest/api/put/)
"""

from __future__ import annotations

import dataclasses
import functools
import io
import os
import pathlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, TypeVar, cast

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import from_url

from transforms.errors import StoreError
from transforms.storage.object_file import ObjectFile
from transforms.storage.store_faults import RAISED, understood
from transforms.storage.url import ObjectUrl

BUFFER_BYTES = 2**20
PREFIXES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
CLIENT_OPTIONS = (
    "allow_http",
    "allow_invalid_certificates",
    "connect_timeout",
    "proxy_ca_certificate",
    "proxy_excludes",
    "proxy_url",
    "root_certificate",
)
_Answer = TypeVar("_Answer")


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long a store that fails is borne with.

    Attributes:
        tries: of one request.
        first_wait_s: before the second try; twice as long before each next one, up to `longest_wait_s`.
        answer_s: for an answer, of at most 8 MiB; upload_s: for taking an object.
    """

    tries: int = 10
    first_wait_s: float = 0.25
    longest_wait_s: float = 15.0
    answer_s: float = 30.0
    upload_s: float = 600.0

    def waits(self) -> Iterator[float]:
        """Seconds before each further try; drawn, so that workers do not come back all at once."""
        for retry in range(self.tries - 1):
            yield min(self.longest_wait_s, self.first_wait_s * 2**retry) * random.uniform(0.5, 1.0)


PATIENCE = Patience()


@dataclasses.dataclass(frozen=True)
class Stored:
    """An object as the store lists it; `written`: seconds since the epoch; `etag`: of this very content."""

    key: str
    size: int
    written: float
    etag: str | None


class Bucket:
    """A bucket (or container), with the credentials of the environment.

    Every method raises StoreError: E_STORE_DENIED, E_STORE_CREDENTIALS, E_STORE_MISSING (no such bucket, or where an
    object must be there), E_STORE_CHANGED, E_STORE_URL, E_STORE_UNAVAILABLE.
    """

    def __init__(self, url: ObjectUrl, patience: Patience | None = None) -> None:
        self._root, self._patience = url.root, patience or PATIENCE

    def find(self, key: str) -> Stored | None:
        """One object, if it is there."""
        try:
            return _stored(self._tried("looking for", key, lambda store: obstore.head(store, key)))
        except StoreError as error:
            if error.code == "E_STORE_MISSING":
                return None
            raise

    def list(self, folder: str) -> list[Stored]:
        """Every object below a folder, by name."""

        def listed(store: Any) -> list[Any]:
            return [entry for page in obstore.list(store, prefix=folder or None) for entry in page]

        return sorted(map(_stored, self._tried("listing", folder, listed)), key=lambda stored: stored.key)

    def open(self, key: str) -> BinaryIO:
        """A seekable binary reader, which reads by ranges what the object is now and no later version."""
        stored = _stored(self._tried("reading", key, lambda store: obstore.head(store, key)))
        file = ObjectFile(stored.size, functools.partial(self._range, stored))
        return cast(BinaryIO, io.BufferedReader(file, BUFFER_BYTES))

    def create(self, key: str, file: pathlib.Path) -> bool:
        """Write an object where there is none, whole or not at all; False if there is one."""

        def put(store: Any) -> bool:
            try:
                obstore.put(store, key, file, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            return True

        return self._tried("writing", key, put, self._patience.upload_s)

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._tried("removing", key, lambda store: obstore.delete(store, key))

    def _range(self, stored: Stored, start: int, stop: int) -> Any:
        options: dict[str, Any] = {"range": (start, stop)}
        if stored.etag is not None:
            options["if_match"] = stored.etag

        def got(store: Any) -> Any:
            answer = obstore.get(store, stored.key, options=options).bytes()
            if len(answer) != stop - start:
                raise OSError("an answer of another length than was asked for")
            return answer

        return self._tried("reading", stored.key, got)

    def _tried(
        self, operation: str, key: str, request: Callable[[Any], _Answer], seconds: float | None = None
    ) -> _Answer:
        started, waits = time.monotonic(), self._patience.waits()
        for tries in range(1, self._patience.tries + 1):
            try:
                return request(_connected(self._root, seconds or self._patience.answer_s, _settings()))
            except RAISED as error:
                fault = understood(error)
            # beyond the handler: an error raised in it would carry along what the store said
            if not fault.passing or tries == self._patience.tries:
                break
            time.sleep(next(waits))
        raise fault.error(operation, f"{self._root}/{key}", tries, time.monotonic() - started)


@functools.lru_cache(maxsize=64)
def _connected(root: str, seconds: float, settings: frozenset[tuple[str, str]]) -> Any:
    """obstore's client, which keeps connections and credentials; another one when the environment has changed."""
    options = {"timeout": f"{seconds}s", **_client_options(root.partition("://")[0], dict(settings))}
    return from_url(root, client_options=options, retry_config={"max_retries": 0})


def _settings() -> frozenset[tuple[str, str]]:
    """All that obstore takes of the environment."""
    prefixes = (*PREFIXES.values(), "AZURITE_")
    return frozenset((name, value) for name, value in os.environ.items() if name.startswith(prefixes))


def _client_options(scheme: str, settings: Mapping[str, str]) -> dict[str, str]:
    """What obstore would take of the environment itself, were it given no options at all."""
    named = {option: PREFIXES[scheme] + option.upper() for option in CLIENT_OPTIONS}
    return {option: settings[name] for option, name in named.items() if name in settings}


def _stored(entry: Any) -> Stored:
    return Stored(entry["path"], entry["size"], entry["last_modified"].timestamp(), entry["e_tag"])
