"""How valid bytes are spoilt: anywhere, or within their format, so that the damage gets past the first check."""

from __future__ import annotations

import copy
import gzip
import io
import itertools
import json
import random
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from transforms.records.tfrecord import masked_crc

Mutate = Callable[[Sequence[bytes], int, random.Random], bytes]
BYTES = (0, 1, 0x0A, 0x20, 0x22, 0x7F, 0x80, 0xFE, 0xFF)
WORDS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 2**64 - 1)
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 3, 10**30, 1e300, float("nan"), float("-inf")),
    *("", "x", "\x00", "é\u202e" * 400, "../" * 30, "{0}%s", "a" * 5000, "9" * 5000, "\ud800"),
    *([], {}, [[]], [None], {"": {}}, {"x": 1}, {"name": [3]}, ["x", ["y"]]),
)
# what YAML makes of text, beyond JSON
YAML_WORDS = (
    *(
        "2001-99-99",
        "!!timestamp x",
        "!!bool x",
        "!!int ''",
        "!!float x",
        "!!binary '!'",
        "!!set {a, b}",
        "!!omap [a: 1]",
    ),
    *("!!python/object/apply:os.getcwd []", "&a [*a]", "<<: 3", "? [a]\n: b", "0x" + "f" * 9000, "1:2:3", ".inf", "~"),
    *(
        "&b [&c [x, x], *c]",
        "!!merge x",
        "!!str [a]",
        "%TAG ! x",
        "|2\n  x",
        "9" * 5000,
        "\t",
        "---\n...\n---",
        "'",
        "{a: {a: ",
    ),
)
BOMB = "a: &a [x]\n" + "".join(
    f"{mark}: &{mark} [{f'*{last}, ' * 9}]\n" for last, mark in itertools.pairwise("abcdefghi")
)


def spoilt(data: bytes, dice: random.Random, ways: int | None = None) -> bytes:
    """A few bytes changed, cut out, put in, doubled or moved; most often once."""
    content = bytearray(data)
    for _ in range(ways or dice.choice((1, 1, 1, 1, 2, 3, 8))):
        at, size = dice.randrange(len(content) + 1), 1 + int(dice.expovariate(0.05))
        match dice.randrange(9):
            case 0 | 1 if content:
                content[at % len(content)] ^= 1 << dice.randrange(8)
            case 2 if content:
                content[at % len(content)] = dice.choice((*BYTES, dice.randrange(256)))
            case 3:
                width = dice.choice((2, 4, 8))
                word = dice.choice((*WORDS, len(content))) % 2 ** (8 * width)
                content[at : at + width] = word.to_bytes(width, dice.choice(("little", "big")))
            case 4:
                del content[at : at + size]
            case 5:
                content[at:at] = dice.randbytes(size)
            case 6:
                content[at:at] = content[at : at + size]
            case 7:
                del content[at:]
            case _:
                content[at : at + size] = bytes(len(content[at : at + size]))
    return bytes(content)


def anywhere(seeds: Sequence[bytes], seed: int, dice: random.Random) -> bytes:
    """One seed spoilt; now and then crossed with another."""
    if dice.random() < 0.05:
        one, other = seeds[seed], dice.choice(seeds)
        return one[: dice.randrange(len(one) + 1)] + other[dice.randrange(len(other) + 1) :]
    return spoilt(seeds[seed], dice)


def one_byte(seeds: Sequence[bytes], seed: int, dice: random.Random) -> bytes:
    """Half of them as `anywhere`; else a single byte changed, and half of those in the last 4 kB: a footer."""
    if dice.random() < 0.5:
        return anywhere(seeds, seed, dice)
    content = bytearray(seeds[seed])
    low = max(0, len(content) - 4096) if dice.random() < 0.5 else 0
    content[dice.randrange(low, len(content))] ^= dice.randrange(1, 256)
    return bytes(content)


def framed(payloads: Sequence[bytes]) -> bytes:
    """Records as TFRecord frames them."""
    whole = bytearray()
    for payload in payloads:
        length = len(payload).to_bytes(8, "little")
        whole += length + masked_crc(length).to_bytes(4, "little") + payload + masked_crc(payload).to_bytes(4, "little")
    return bytes(whole)


def payloads_of(content: bytes) -> list[bytes]:
    """The payloads of a whole TFRecord file."""
    found, at = [], 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 8], "little")
        found.append(content[at + 12 : at + 12 + size])
        at += size + 16
    return found


def records(seeds: Sequence[bytes], seed: int, dice: random.Random) -> bytes:
    """Bytes spoilt, or whole records dropped, doubled and moved: the framing holds then."""
    if dice.random() < 0.7:
        return anywhere(seeds, seed, dice)
    payloads = payloads_of(seeds[seed])
    dice.shuffle(payloads)
    return spoilt(framed(payloads[: dice.randrange(len(payloads)) + 1] + payloads[:2]), dice)


def examples(seeds: Sequence[bytes], seed: int, dice: random.Random) -> bytes:
    """Payloads spoilt, and framed as if nothing were wrong with them."""
    payloads = payloads_of(seeds[seed])
    return framed([spoilt(one, dice) if dice.random() < 0.5 else one for one in payloads])


def compressed(seeds: Sequence[bytes], seed: int, dice: random.Random) -> bytes:
    """Compressed bytes spoilt; or what is in them, compressed again in one or more members."""
    if dice.random() < 0.7:
        return anywhere(seeds, seed, dice)
    whole = gzip.decompress(seeds[seed]) if seeds[seed][:2] == b"\x1f\x8b" else zlib.decompress(seeds[seed])
    inner = spoilt(whole, dice)
    pack = dice.choice((zlib.compress, lambda data: gzip.compress(data, mtime=0)))
    at = dice.randrange(len(inner) + 1)
    return pack(inner[:at]) + bytes(dice.randrange(3)) + pack(inner[at:])


def replaced(value: Any, dice: random.Random) -> Any:
    """The same JSON value with one of its parts, at any depth, replaced, removed or put under another key."""
    if isinstance(value, (dict, list)) and value and dice.random() < 0.85:
        key = dice.choice(list(value)) if isinstance(value, dict) else dice.randrange(len(value))
        way = dice.random()
        if way < 0.1:
            del value[key]
        elif way < 0.15 and isinstance(value, dict):
            value[dice.choice(("", "x", "é" * 600, "\x07", key + " "))] = value.pop(key)
        else:
            value[key] = replaced(value[key], dice)
        return value
    return copy.deepcopy(dice.choice(VALUES))


def json_text(seeds: Sequence[bytes], seed: int, dice: random.Random) -> bytes:
    """Text spoilt, or well-formed nonsense."""
    if dice.random() < 0.4:
        return anywhere(seeds, seed, dice)
    value = json.loads(seeds[seed])
    for _ in range(dice.choice((1, 1, 2, 4))):
        value = replaced(value, dice)
    if dice.random() < 0.02:
        return dice.choice((b"[" * 100_000, b'{"shards": ' + b"9" * 5000 + b"}"))
    return json.dumps(value).encode()


def yaml_text(seeds: Sequence[bytes], seed: int, dice: random.Random) -> bytes:
    """Text spoilt, well-formed nonsense, or what only YAML can say in the place of a value."""
    way = dice.random()
    if way < 0.3:
        return anywhere(seeds, seed, dice)
    if way < 0.6:
        value = yaml.safe_load(seeds[seed])
        for _ in range(dice.choice((1, 1, 2, 4))):
            value = replaced(value, dice)
        return json.dumps(value).encode() if dice.random() < 0.8 else yaml.safe_dump(value).encode(errors="replace")
    lines = seeds[seed].decode().splitlines(keepends=True)
    at = dice.randrange(len(lines))
    key, colon, _ = lines[at].partition(": ")
    lines[at] = f"{key}{colon}{dice.choice((*YAML_WORDS, '*i'))}\n"
    return ((BOMB if dice.random() < 0.2 else "") + "".join(lines)).encode()


def keras_zip(seeds: Sequence[bytes], seed: int, dice: random.Random) -> bytes:
    """The zip spoilt, or the description in it, packed again."""
    if dice.random() < 0.4:
        return anywhere(seeds, seed, dice)
    with zipfile.ZipFile(io.BytesIO(seeds[seed])) as archive:
        texts = {name: archive.read(name) for name in ("config.json", "metadata.json")}
    name = "metadata.json" if dice.random() < 0.05 else "config.json"
    texts[name] = json_text([texts[name]], 0, dice)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", dice.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))) as new:
        for kept, text in texts.items():
            new.writestr(kept, text)
    return packed.getvalue()


def saved_model(seeds: Sequence[bytes], seed: int, dice: random.Random) -> bytes:
    """The bytes spoilt, or a few fields somewhere in the message."""
    if dice.random() < 0.5:
        return anywhere(seeds, seed, dice)
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel.FromString(seeds[seed])
    for _ in range(dice.choice((1, 2, 5, 20))):
        _spoil_message(message, dice)
    return bytes(message.SerializeToString())


def _spoil_message(message: Any, dice: random.Random) -> None:
    fields = message.ListFields()
    if not fields:
        return
    field, value = dice.choice(fields)
    many = not isinstance(value, (str, bytes, int, float)) and hasattr(value, "__len__")
    if many and not hasattr(value, "keys") and len(value) and dice.random() < 0.15:
        del value[dice.randrange(len(value))]
    elif hasattr(value, "keys"):
        _spoil_entry(value, dice)
    elif field.message_type is not None:
        _spoil_message(dice.choice(value) if many else value, dice)
    elif many or dice.random() < 0.3:
        message.ClearField(field.name)
    elif isinstance(value, str):
        setattr(message, field.name, dice.choice(("", "x", "a:b", "^x", "é\u202e" * 300, value + "/")))
    elif isinstance(value, bytes):
        setattr(message, field.name, spoilt(value, dice))
    elif field.enum_type is None and type(value) is int:
        setattr(message, field.name, dice.choice((0, 1, 2, 127)))


def _spoil_entry(entries: Any, dice: random.Random) -> None:
    key = dice.choice(sorted(entries))
    if dice.random() < 0.2 or not hasattr(entries[key], "ListFields"):
        del entries[key]
    else:
        _spoil_message(entries[key], dice)
