"""gs:// and az://: the same requests in other words.

gs:// speaks the XML API of Cloud Storage, which neither gcp-storage-emulator nor fake-gcs-server serves (measured: 501
to HEAD, list and delete; 400 to PUT). It is S3's but for one header, which the proxy before moto puts into S3's words.
az:// needs Azurite (`npm install -g azurite`).
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hashlib
import hmac
import os
import pathlib
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import pytest
from stores import BUCKET, SHORT, Fault, FaultyProxy, Store, serving, speaking_gs

from transforms.errors import StoreError
from transforms.storage import bucket
from transforms.storage.bucket import Bucket
from transforms.storage.listing import list_files
from transforms.storage.place import open_place
from transforms.storage.staging import staged
from transforms.storage.url import parse_url

# of Azurite, the same everywhere: https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
ACCOUNT = "devstoreaccount1"
PUBLIC_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@pytest.fixture
def gs(s3_server: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The S3 server in the words of Cloud Storage."""
    with serving(s3_server.upstream) as proxy:
        for name, value in speaking_gs(proxy).items():
            monkeypatch.setenv(name, value)
        yield Store(f"gs://{BUCKET}/gs", proxy)


@pytest.fixture
def az(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Azurite, with one container."""
    azurite = os.environ.get("ATTRIBEAM_AZURITE") or shutil.which("azurite-blob")
    if not azurite:
        pytest.skip("needs azurite-blob on PATH, or named by ATTRIBEAM_AZURITE: npm install -g azurite")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    command = [azurite, "--inMemoryPersistence", "--blobHost", address[0], "--blobPort", str(address[1])]
    options = ["--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    with subprocess.Popen([*command, *options], cwd=tmp_path) as server, serving(address) as proxy:
        try:
            _make_container(address)
            monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
            monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", proxy.url)
            yield Store(f"az://{BUCKET}/az", proxy)
        finally:
            server.terminate()


def _make_container(address: tuple[str, int]) -> None:
    """https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key"""
    date = email.utils.formatdate(usegmt=True)
    wanted = (
        "PUT"
        + "\n" * 12
        + f"x-ms-date:{date}\nx-ms-version:2021-08-06\n/{ACCOUNT}/{ACCOUNT}/{BUCKET}\nrestype:container"
    )
    signed = base64.b64encode(hmac.new(base64.b64decode(PUBLIC_KEY), wanted.encode(), hashlib.sha256).digest())
    headers = {
        "x-ms-date": date,
        "x-ms-version": "2021-08-06",
        "Authorization": f"SharedKey {ACCOUNT}:{signed.decode()}",
    }
    url = f"http://{address[0]}:{address[1]}/{ACCOUNT}/{BUCKET}?restype=container"
    for _ in range(100):
        with contextlib.suppress(ConnectionError, urllib.error.URLError):
            if socket.create_connection(address, 1):
                break
        time.sleep(0.2)
    urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers)).close()


@pytest.fixture(params=["gs", "az"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(bucket, "PATIENCE", SHORT)
    found: Store = request.getfixturevalue(request.param)
    return found


def test_other_stores_do_what_s3_does(store: Store, tmp_path: pathlib.Path) -> None:
    place, name = open_place(f"{store.url}/out"), "part [1] #é%20"
    assert place.publish_bytes(b"first", name)
    assert not place.publish_bytes(b"second", name)
    assert (place.read(name), place.exists(name), place.exists("none"), place.names()) == (
        b"first",
        True,
        False,
        [name],
    )
    assert list_files([f"{store.url}/out/part*"]) == [f"{store.url}/out/{name}"]
    with staged(f"{store.url}/out") as copy:
        assert (pathlib.Path(copy) / name).read_bytes() == b"first"
    place.set_aside(name, "_quarantine/damaged/1")
    assert place.names() == ["_quarantine/damaged/1"]


def test_other_stores_fail_by_name(store: Store, tmp_path: pathlib.Path) -> None:
    (tmp_path / "object").write_bytes(b"x" * 3000)
    url = parse_url(store.put(tmp_path / "object"))
    store.proxy.fail(Fault("^GET", times=SHORT.tries - 1, cut=True), Fault("^PUT", times=SHORT.tries - 1, status=503))
    with Bucket(url).open(url.key) as file:
        assert file.read() == b"x" * 3000
    assert Bucket(url).create(f"{url.key}-new", tmp_path / "object")
    store.proxy.fail(Fault("^PUT", status=503), Fault("^GET", status=403))
    with pytest.raises(StoreError, match=rf"E_STORE_UNAVAILABLE: writing {url}-2: .* in {SHORT.tries} tries"):
        Bucket(url).create(f"{url.key}-2", tmp_path / "object")
    with pytest.raises(StoreError, match="E_STORE_DENIED: reading"), Bucket(url).open(url.key) as file:
        file.read()


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_an_account_that_nobody_named_is_said(scheme: str, s3: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands for the machine's own service has no credentials for this one."""
    monkeypatch.setenv("GCE_METADATA_HOST", s3.proxy.url.partition("://")[2])
    monkeypatch.setenv("GCE_METADATA_ROOT", s3.proxy.url.partition("://")[2])
    s3.proxy.fail(Fault("computeMetadata", status=404))
    with pytest.raises(StoreError, match=r"E_STORE_CREDENTIALS: .*docs/stores.md"):
        Bucket(parse_url(f"{scheme}://{BUCKET}")).create("x", pathlib.Path(__file__))
