"""What an object store said when it failed: whether another try may help, and if not, an error of ours.

What it said itself is never shown: it may repeat a signed URL or the request that was signed.
"""

from __future__ import annotations

import dataclasses
import re

from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from transforms.errors import StoreError

# obstore raises its own errors, and Python's for an object that is not there and for a key that it does not take
RAISED = (BaseError, OSError, ValueError)
_STATUS = re.compile(r"status code: (\d{3})")
_REASON = re.compile(r"<Code>(\w{1,40})</Code>")
# asked of the services that give credentials to a machine; an account that nobody named
_NOBODY = re.compile(
    r"://[^/]+/(latest/(api/token|meta-data)|computeMetadata|metadata/identity)|token request|MissingAccount"
)
_AGAIN = {408, 429}
_REMEDIES = {
    "E_STORE_DENIED": "give the credentials of this process that permission, or others: docs/stores.md",
    "E_STORE_CREDENTIALS": "set those of the store in the environment of every worker: docs/stores.md",
    "E_STORE_MISSING": "check the bucket and the name",
    "E_STORE_CHANGED": "leave it as it is while a run reads it, and run again",
    "E_STORE_URL": "rename it",
    "E_STORE_UNAVAILABLE": "run the same command again when the store is well: what is done is not done again",
}
_MEANINGS = {
    "E_STORE_DENIED": "the store refuses it",
    "E_STORE_CREDENTIALS": "there are no credentials",
    "E_STORE_MISSING": "there is none",
    "E_STORE_CHANGED": "it has changed since it was first read",
    "E_STORE_URL": "a name with an empty, `.` or `..` part, or a control character, which cannot be asked for",
    "E_STORE_UNAVAILABLE": "no whole answer",
}


@dataclasses.dataclass(frozen=True)
class StoreFault:
    """Why a request failed.

    Attributes:
        said: what of the store's answer can be shown: its status and its code.
    """

    code: str
    said: str

    @property
    def passing(self) -> bool:
        """Whether it may pass by itself."""
        return self.code == "E_STORE_UNAVAILABLE"

    def error(self, operation: str, url: str, tries: int, seconds: float) -> StoreError:
        """The error, which names the operation, the object and the remedy."""
        said = f" ({self.said})" if self.said else ""
        effort = f" in {tries} tries over {seconds:.0f} s" if self.passing else ""
        return StoreError(self.code, f"{operation} {url}: {_MEANINGS[self.code]}{said}{effort}; {_REMEDIES[self.code]}")


def understood(error: Exception) -> StoreFault:
    """What obstore's exception means."""
    text = str(error)
    found, reason = _STATUS.search(text), _REASON.search(text)
    status = int(found[1]) if found else None
    said = " ".join(part for part in (found and found[1], reason and reason[1]) if part)
    if isinstance(error, FileNotFoundError):
        return StoreFault("E_STORE_MISSING", said)
    if isinstance(error, InvalidPathError | ValueError):
        return StoreFault("E_STORE_URL", "")
    if isinstance(error, PreconditionError):
        return StoreFault("E_STORE_CHANGED", said)
    if _NOBODY.search(text):
        return StoreFault("E_STORE_CREDENTIALS", "")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return StoreFault("E_STORE_DENIED", said)
    if status == 404:
        return StoreFault("E_STORE_MISSING", said)
    if status is not None and 400 <= status < 500 and status not in _AGAIN:
        return StoreFault("E_STORE_DENIED", said)
    return StoreFault("E_STORE_UNAVAILABLE", said)
