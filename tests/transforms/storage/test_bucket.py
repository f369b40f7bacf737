"""A store that fails: every request is tried a bounded number of times, and then fails by name, without a secret."""

from __future__ import annotations

import os
import pathlib
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stores import HASTY, SECRETS, SHORT, Fault, Store

from transforms.errors import StoreError
from transforms.storage.bucket import Bucket, Patience
from transforms.storage.url import parse_url

CONTENT = bytes(range(256)) * 8000  # two buffers


class Subject:
    """An object that is there, one that is not, and each operation on them."""

    def __init__(self, store: Store, folder: pathlib.Path) -> None:
        self.file = folder / "object"
        self.file.write_bytes(CONTENT)
        self.url = parse_url(f"{store.url}/a/object")
        self.new, self.proxy, self.bucket = f"{self.url.key}-new", store.proxy, Bucket(self.url)
        assert self.bucket.create(self.url.key, self.file)

    def lose_patience(self, kind: str) -> None:
        """Before a store that is slow, so that the test does not wait for long."""
        if kind == "slow":
            self.bucket = Bucket(self.url, HASTY)

    def read(self) -> Any:
        with self.bucket.open(self.url.key) as file:
            return file.read()

    def write(self) -> Any:
        return self.bucket.create(self.new, self.file)

    def list(self) -> Any:
        return [stored.key for stored in self.bucket.list(self.url.key.rpartition("/")[0])]

    def find(self) -> Any:
        return self.bucket.find(self.url.key) is not None

    def remove(self) -> Any:
        return self.bucket.delete(self.url.key)


@pytest.fixture
def subject(s3: Store, tmp_path: pathlib.Path) -> Subject:
    return Subject(s3, tmp_path)


# each operation, the request it makes, what it says it was doing, and what it gives
OPERATIONS: list[tuple[Callable[[Subject], Any], str, str, Callable[[Subject], Any]]] = [
    (Subject.read, "^GET .*object", "reading", lambda subject: CONTENT),
    (Subject.write, "^PUT .*object-new", "writing", lambda subject: True),
    (Subject.list, "^GET .*list-type", "listing", lambda subject: [subject.url.key]),
    (Subject.find, "^HEAD .*object", "looking for", lambda subject: True),
    (Subject.remove, "^(DELETE|POST) ", "removing", lambda subject: None),
]
NAMES = [operation[0].__name__ for operation in OPERATIONS]
# what befalls them and may pass by itself
PASSING: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "503": {"status": 503, "body": b"<Error><Code>SlowDown</Code></Error>"},
    "429": {"status": 429},
    "slow": {"wait_s": 2 * HASTY.answer_s},
    "cut": {"cut": True},
    "lost": {"swallowed": True},
}
# without a body to cut; and those whose timeouts are the same as others'
ELSEWHERE = {"write-cut", "find-cut", "remove-cut", "find-slow", "list-slow", "remove-slow"}
EVERY = {
    f"{operation[0].__name__}-{kind}": (operation, kind)
    for operation in OPERATIONS
    for kind in PASSING
    if f"{operation[0].__name__}-{kind}" not in ELSEWHERE
}


@pytest.mark.parametrize(("operation", "kind"), EVERY.values(), ids=EVERY)
def test_what_passes_is_tried_again(subject: Subject, operation: Any, kind: str) -> None:
    act, request, _, wanted = operation
    subject.lose_patience(kind)
    subject.proxy.fail(Fault(request, times=SHORT.tries - 1, **PASSING[kind]))
    # whoever lost the answer to a write finds his own object there, and takes it for another's
    expected = wanted(subject) if act is not Subject.write else kind not in ("lost", "slow")
    assert act(subject) == expected
    subject.proxy.fail()
    if act is Subject.write:
        with subject.bucket.open(subject.new) as file:
            assert file.read() == CONTENT


@pytest.mark.parametrize(("operation", "kind"), EVERY.values(), ids=EVERY)
def test_what_does_not_pass_fails_by_name_after_so_many_tries(subject: Subject, operation: Any, kind: str) -> None:
    act, request, word, _ = operation
    subject.lose_patience(kind)
    subject.proxy.fail(Fault(request, **PASSING[kind]))
    with pytest.raises(StoreError) as caught:
        act(subject)
    assert len(subject.proxy.matching(request)) == SHORT.tries
    assert str(caught.value).startswith(
        f"E_STORE_UNAVAILABLE: {word} {subject.url.root}/{subject.url.key.split('/')[0]}"
    )
    assert f"in {SHORT.tries} tries" in str(caught.value)
    subject.proxy.fail()
    if act is Subject.write and kind not in ("lost", "slow"):
        assert subject.bucket.find(subject.new) is None


REFUSED = {
    403: ("E_STORE_DENIED", b"<Error><Code>AccessDenied</Code></Error>", "403 AccessDenied"),
    401: ("E_STORE_DENIED", b"", "401"),
    400: ("E_STORE_DENIED", b"<Error><Code>ExpiredToken</Code></Error>", "400 ExpiredToken"),
}


@pytest.mark.parametrize("status", REFUSED)
@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
def test_a_refusal_is_not_tried_again(subject: Subject, operation: Any, status: int) -> None:
    act, request, word, _ = operation
    code, body, said = REFUSED[status]
    subject.proxy.fail(Fault(request, status=status, body=body))
    with pytest.raises(StoreError, match=f"{code}: {word} s3://") as caught:
        act(subject)
    assert len(subject.proxy.matching(request)) == 1
    assert said.split()[0] in str(caught.value)
    if act is not Subject.find:  # a HEAD has no body
        assert said in str(caught.value)


def test_what_the_store_repeats_of_a_request_is_nowhere_shown(subject: Subject) -> None:
    repeated = "".join(f"<StringToSign>{secret}</StringToSign>" for secret in SECRETS.values())
    for status in (403, 500):
        subject.proxy.fail(Fault("^GET", status=status, body=f"<Error>{repeated}</Error>".encode()))
        with pytest.raises(StoreError) as caught:
            subject.read()
        shown = "".join(traceback.format_exception(caught.value))
        assert not [secret for secret in SECRETS.values() if secret in shown]


def test_a_missing_object_or_bucket_is_named(subject: Subject) -> None:
    with pytest.raises(StoreError, match="E_STORE_MISSING: reading s3://bucket/none: there is none"):
        Bucket(subject.url).open("none")
    assert subject.bucket.find("none") is None
    with pytest.raises(StoreError, match="E_STORE_MISSING: listing s3://no-bucket/"):
        Bucket(parse_url("s3://no-bucket")).list("")


@pytest.mark.parametrize("key", ["a//b", "a/../b", "./a", "a\nb"])
def test_a_key_that_cannot_be_asked_for_is_refused(subject: Subject, key: str) -> None:
    with pytest.raises(StoreError, match="E_STORE_URL"):
        subject.bucket.find(key)


def test_an_object_that_is_replaced_while_it_is_read_is_refused(subject: Subject) -> None:
    with subject.bucket.open(subject.url.key) as file:
        assert file.read(10) == CONTENT[:10]
        subject.remove()
        subject.file.write_bytes(CONTENT[::-1])
        assert subject.bucket.create(subject.url.key, subject.file)
        with pytest.raises(StoreError, match="E_STORE_CHANGED: reading"):
            file.read()


def test_a_server_that_is_not_there_is_unavailable(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match=r"E_STORE_UNAVAILABLE: .* in 3 tries"):
        subject.find()


def test_a_connection_that_breaks_in_an_upload_leaves_nothing(subject: Subject) -> None:
    subject.proxy.fail(Fault("^PUT", torn=True))
    with pytest.raises(StoreError, match="E_STORE_UNAVAILABLE: writing"):
        subject.write()
    assert len(subject.proxy.matching("^PUT")) == SHORT.tries
    subject.proxy.fail()
    assert subject.list() == [subject.url.key]


def test_without_credentials_the_error_says_so(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answered by what stands for the service that gives them to a machine: it has none for this one."""
    for name in SECRETS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", subject.proxy.url)
    subject.proxy.fail(Fault("latest", status=403))
    with pytest.raises(StoreError, match=r"E_STORE_CREDENTIALS: .*docs/stores.md"):
        subject.read()


def test_of_many_writers_one_wins(subject: Subject) -> None:
    won, gate = list[bool](), threading.Barrier(8)

    def race() -> None:
        gate.wait()
        won.append(subject.write())

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_waits_grow_up_to_a_bound_and_end() -> None:
    patience = Patience(tries=12, first_wait_s=1.0, longest_wait_s=8.0)
    for _ in range(20):
        waits = list(patience.waits())
        assert len(waits) == 11
        assert all(2**n / 2 <= wait <= 2**n for n, wait in enumerate(waits[:4]))
        assert all(4.0 <= wait <= 8.0 for wait in waits[4:])


def test_a_column_of_parquet_is_read_by_ranges(s3: Store, tmp_path: pathlib.Path) -> None:
    small = pa.array(range(100_000), pa.int32())
    large = pa.array([os.urandom(160) for _ in range(100_000)])
    pq.write_table(pa.table({"large": large, "small": small}), tmp_path / "x.parquet", row_group_size=50_000)
    s3.put(tmp_path / "x.parquet")
    s3.proxy.fail()
    url = parse_url(f"{s3.url}/x.parquet")
    with Bucket(url).open(url.key) as file:
        found = pq.ParquetFile(file, pre_buffer=False).read(["small"])
    assert found["small"].to_pylist() == small.to_pylist()
    # of 16 MB: the footer, and for each of two row groups what stands around 200 kB
    assert s3.proxy.sent < 6 * 2**20


def test_other_options_of_the_environment_hold_beside_ours(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(StoreError, match="E_STORE_UNAVAILABLE"):
        subject.find()
