"""What strangers wrote, as short texts that are safe to print."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from rich.text import Text

from transforms.errors import MAX_PAYLOAD_BYTES, printable, quoted

MAX_NAME_CHARACTERS = 200
FIRST_ELEMENTS = 4  # of a list
MAX_JOINED_CHARACTERS = 40


def shown(text: object, limit: int = MAX_NAME_CHARACTERS) -> str:
    """A stranger's words, in one line and cut: characters that a terminal would obey appear as their escapes."""
    whole = str(text)
    safe = printable(whole[:limit]).replace("\n", "\\n")
    return safe if len(whole) <= limit else safe + "…"


def short_value(value: pa.Scalar) -> str:
    """A value of a dataset in one short text, whatever it is."""
    try:
        return _short(value)
    # text that is not UTF-8, times beyond Python's, time zones that nobody knows
    except (ValueError, KeyError, OverflowError):
        return f"unreadable {shown(value.type, MAX_PAYLOAD_BYTES)}"


def _short(value: pa.Scalar) -> str:
    """A value as text of bounded length: of a long one only the beginning is looked at."""
    stored = value.value if isinstance(value, pa.ExtensionScalar) else value
    if stored is None or not stored.is_valid:
        return "null"
    if isinstance(stored, pa.ListScalar):
        return _short_list(stored.values)
    if isinstance(stored, pa.BinaryScalar) and not isinstance(stored, pa.StringScalar | pa.LargeStringScalar):
        start, size = stored.as_buffer()[:MAX_PAYLOAD_BYTES].to_pybytes(), stored.as_buffer().size
        return quoted(start) + (f" ({size:,} bytes)" if size > MAX_PAYLOAD_BYTES else "")
    plain = stored.as_py()
    return f"{plain:.6g}" if isinstance(plain, float) else quoted(plain)


def _short_list(values: pa.Array) -> str:
    if len(values) == 1:
        return _short(values[0])
    text = ", ".join(_short(value) for value in values[:FIRST_ELEMENTS])
    cut = text if len(text) <= MAX_PAYLOAD_BYTES else text[: MAX_PAYLOAD_BYTES - 1] + "…"
    return f"[{cut}]" if len(values) <= FIRST_ELEMENTS else f"[{cut}, … {len(values):,} values]"


def joined(values: Sequence[str]) -> Text:
    """In one line where that is short, else a line for each row."""
    line = " · ".join(values)
    return Text(line if len(line) <= MAX_JOINED_CHARACTERS else "\n".join(values))
