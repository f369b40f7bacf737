"""Errors that name the thing, the value, the expectation and the remedy, each with a stable code.

Every code is described in docs/errors.md; a test compares the two.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

MAX_MESSAGE_CHARACTERS = 500
MAX_PAYLOAD_BYTES = 32
_BRACKETS: dict[type, tuple[str, str]] = {dict: ("{", "}"), list: ("[", "]"), tuple: ("(", ")"), set: ("{", "}")}
_MAX_LENGTH = 4096  # of a text, and then as much as a URL may have before its credentials are over
_MAX_BITS = 10_000  # Python refuses to write out what is much longer


# A URL's name and password, or its signature: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html,
# https://learn.microsoft.com/azure/storage/common/storage-sas-overview
_IN_URLS = re.compile(
    r"(?<=://)[^/?\s@'\"]+(?=@)"
    r"|(?<=[?&])((?:sig|signature|x-(?:amz|goog)-[a-z-]+|awsaccesskeyid|\w*token|\w*key|\w*secret)=)[^&\s'\"]+",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """The same with `…` for credentials in URLs: nobody means them to be said again."""
    return _IN_URLS.sub(lambda found: f"{found[1] or ''}…", text)


def printable(text: object) -> str:
    """A stranger's words for a terminal: what it would obey appears as its escape, all but the ends of lines."""
    return "".join(mark if mark.isprintable() or mark == "\n" else repr(mark)[1:-1] for mark in str(text))


def quoted(value: object) -> str:
    """A value from a stranger, shown safely: `repr`, cut at 32 bytes; what is cut off is never written out."""
    text = ""
    for piece in _pieces(value):
        text += piece
        if len(text) > MAX_PAYLOAD_BYTES:
            return text[: MAX_PAYLOAD_BYTES - 1] + "…"
    return text


def _pieces(value: object) -> Iterator[str]:
    """The `repr` of a value bit by bit: a few lines of YAML can stand for a list of billions, or for one that holds
    itself."""
    if isinstance(value, (str, bytes)):
        yield without_secrets(repr(value[:_MAX_LENGTH]))
    elif type(value) in _BRACKETS and value:
        begin, end = _BRACKETS[type(value)]
        yield begin
        for place, held in enumerate(value):  # type: ignore[arg-type, var-annotated]
            yield ", " if place else ""
            yield from _pieces(held)
            if isinstance(value, dict):
                yield ": "
                yield from _pieces(value[held])
        yield end
    elif type(value) is int and value.bit_length() > _MAX_BITS:
        yield f"a number of {value.bit_length()} bits"
    else:
        yield without_secrets(repr(value))


def _plain(message: str) -> str:
    """One line without control characters: names come from strangers, and a terminal obeys what it is shown."""
    message = without_secrets(message)
    return " ".join("".join(mark for mark in message if mark.isprintable() or mark.isspace()).split())


def _cut(message: str, limit: int) -> str:
    return message if len(message) <= limit else message[: limit - 1] + "…"


def one_line(text: str) -> str:
    """A text as errors say it: one line of at most 500 characters, none of which a terminal obeys."""
    return _cut(_plain(text), MAX_MESSAGE_CHARACTERS)


class AttribeamError(Exception):
    """The run cannot go on. `str()` is one line, `E_CODE: message`, of at most 500 characters."""

    exit_code = 1

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = _cut(_plain(message), MAX_MESSAGE_CHARACTERS - len(code) - 2)
        super().__init__(code, self.message)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class UsageError(AttribeamError):
    """The configuration, the model or the dataset is not what was asked for: nothing has been computed yet."""

    exit_code = 2


class QuarantineError(AttribeamError):
    """The run is finished, but more rows were refused than the limit allows: there is no `_SUCCESS`."""

    exit_code = 3


class StoreError(AttribeamError):
    """An object store did not do what it was asked for: nothing is known of the object, least of all that it is bad."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """Why one row was refused: it goes to quarantine with this, and the rest goes on."""

    code: str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", _cut(_plain(self.message), MAX_MESSAGE_CHARACTERS))
