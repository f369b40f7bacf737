"""URLs of object stores: taken as they are, and refused with credentials in them, which no message repeats."""

from __future__ import annotations

import pytest

from transforms.errors import UsageError
from transforms.storage.url import ObjectUrl, is_url, parse_url

PLAIN = [
    ("s3://bucket", ("s3", "bucket", "")),
    ("gs://bucket/", ("gs", "bucket", "")),
    ("az://container/a b/[1] #é%20?.parquet", ("az", "container", "a b/[1] #é%20?.parquet")),
    ("s3://bucket/out/", ("s3", "bucket", "out")),
    ("s3://bucket/user@host/x?y=1&z", ("s3", "bucket", "user@host/x?y=1&z")),
]
SECRET = "wJalrXUtnFEMI"
SIGNED = [
    f"s3://AKIA:{SECRET}@bucket/data",
    f"s3://{SECRET}@bucket",
    f"az://container/x?sv=2024&sig={SECRET}",
    f"s3://bucket/x?X-Amz-Signature={SECRET}",
    f"gs://bucket/x?x-goog-signature={SECRET}&a=b",
    f"gs://bucket/x?a=b&access_token={SECRET}",
    f"s3://bucket/x?AWSAccessKeyId={SECRET}",
    f"https://user:{SECRET}@host/x",
]


@pytest.mark.parametrize(("url", "parts"), PLAIN)
def test_a_url_is_taken_as_it_is(url: str, parts: tuple[str, str, str]) -> None:
    assert is_url(url)
    assert parse_url(url) == ObjectUrl(*parts)
    assert parse_url(str(parse_url(url))) == ObjectUrl(*parts)


@pytest.mark.parametrize("url", SIGNED)
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="E_STORE_SECRET") as caught:
        parse_url(url)
    assert SECRET[:4] not in repr(caught.value)


@pytest.mark.parametrize("url", ["http://host/x", "file:///tmp/x", "s3:///key", "s3://", "S3://bucket/x", "://b/k"])
def test_what_is_no_url_of_a_known_store_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"E_STORE_URL: .*s3://bucket/key"):
        parse_url(url)
