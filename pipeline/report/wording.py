"""Numbers and strangers' names as the report writes them."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any

from pipeline.excerpts import shown

NAME_CHARACTERS, VALUE_CHARACTERS = 60, 400
NOTHING, EMPTY = "–", "(empty)"
MINUS = "\N{MINUS SIGN}"


def name(value: object, limit: int = NAME_CHARACTERS) -> str:
    """A stranger's name in one line and cut; control and bidirectional marks appear as their escapes."""
    if value is None:
        return NOTHING
    return shown(value, limit) or EMPTY


def value(found: object, limit: int = VALUE_CHARACTERS) -> str:
    """A value of a configuration or a manifest, in words; of what has a name, that and the rest behind it."""
    if isinstance(found, dict) and set(found) == {""}:  # of the only input
        return value(found[""], limit)
    if isinstance(found, dict):
        rest = ", ".join(
            f"{key} {_plain(entry)}" for key, entry in found.items() if key != "name" and entry is not None
        )
        if "name" not in found:
            return name(rest, limit)
        return name(f"{found['name']} ({rest})" if rest else found["name"], limit)
    if isinstance(found, list):
        return name(", ".join(map(_plain, found)), limit)
    return name(_plain(found), limit)


def _plain(found: object) -> str:
    if isinstance(found, int) and not isinstance(found, bool):
        return count(found)
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def anchor(kind: str, *identity: object) -> str:
    """What a fragment calls a thing: the same in every report of the same run, and made of no stranger's letters."""
    digest = hashlib.sha256(repr(identity).encode("utf-8", "backslashreplace")).hexdigest()
    return f"{kind}-{digest[:12]}"


def slug(kind: str, identity: object) -> str:
    """An anchor that can be read, of an id that is one already; of any other a digest."""
    text = str(identity)
    return f"{kind}-{text}" if re.fullmatch(r"[A-Za-z0-9_-]{1,80}", text) else anchor(kind, text)


def count(value: Any) -> str:
    """A whole number, in groups of three digits."""
    return NOTHING if missing(value) else f"{int(value):,}".replace("-", MINUS)


def number(value: Any) -> str:
    """Four significant digits; very large and very small ones by their exponent."""
    if value is None:
        return NOTHING
    value = float(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    plain = value == 0 or 1e-4 <= abs(value) < 1e6
    text = f"{value:.4g}" if plain and abs(value) < 1e4 else f"{value:,.0f}" if plain else f"{value:.2e}"
    return text.replace("-", MINUS)


def signed(value: Any) -> str:
    """A number with its sign."""
    text = number(value)
    return f"+{text}" if not missing(value) and float(value) > 0 else text


def percent(share: Any) -> str:
    """A share of one."""
    if missing(share):
        return NOTHING
    value = 100 * float(share)
    if value and abs(value) < 0.01:
        return f"{'below ' if value > 0 else 'above '}{'' if value > 0 else MINUS}0.01 %"
    return f"{value:.0f} %" if value in (0, 100) else f"{value:.2f} %" if abs(value) < 1 else f"{value:.1f} %"


def duration(seconds: Any) -> str:
    """Seconds, minutes or hours."""
    if missing(seconds):
        return NOTHING
    value = float(seconds)
    if value < 120:
        return f"{value:.3g} s"
    return f"{value / 60:.3g} min" if value < 7200 else f"{value / 3600:,.1f} h"


def missing(value: Any) -> bool:
    """Whether there is no finite number."""
    return value is None or not math.isfinite(float(value))
