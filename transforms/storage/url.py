"""URLs of object stores: s3://, gs:// and az://, each a bucket (or container) and a key; never with credentials."""

from __future__ import annotations

import dataclasses
import re

from transforms.errors import UsageError, quoted

SCHEMES = ("s3", "gs", "az")
# a name before @, or a query that signs the request: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html,
# https://learn.microsoft.com/azure/storage/common/storage-sas-overview
_USER = re.compile(r"^[^/?]*@")
_SIGNED = re.compile(
    r"[?&](sig|sv|se|signature|x-(amz|goog)-[a-z-]+|awsaccesskeyid|googleaccessid|\w*token|\w*key)=", re.I
)


@dataclasses.dataclass(frozen=True)
class ObjectUrl:
    """Where an object, or all below a prefix, stands; `key` has no slash at either end."""

    scheme: str
    bucket: str
    key: str

    @property
    def root(self) -> str:
        """Of the bucket."""
        return f"{self.scheme}://{self.bucket}"

    def __str__(self) -> str:
        return f"{self.root}/{self.key}".rstrip("/")


def is_url(path: str) -> bool:
    """Whether the path is a URL of an object store rather than a local path."""
    return "://" in path


def parse_url(url: str) -> ObjectUrl:
    """The parts of a URL; its key is taken as it is, with nothing to escape.

    Raises:
        UsageError: E_STORE_URL for another scheme, or without a bucket; E_STORE_SECRET for a URL that holds
            credentials, which the message does not repeat.
    """
    scheme, _, rest = url.partition("://")
    if _USER.search(rest) or _SIGNED.search(rest):
        raise UsageError(
            "E_STORE_SECRET",
            f"a {quoted(scheme)} URL holds credentials (a name before @, or a signature after ?), which would end up in"
            " logs and manifests; take them out and give them by the environment: docs/stores.md",
        )
    bucket, _, key = rest.partition("/")
    if scheme not in SCHEMES or not bucket:
        known = ", ".join(f"{name}://bucket/key" for name in SCHEMES)
        raise UsageError("E_STORE_URL", f"{quoted(url)} is no URL of an object store that is known; give {known}")
    return ObjectUrl(scheme, bucket, key.strip("/"))
