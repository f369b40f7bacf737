"""`JobConfig`: one YAML file, validated as a whole before anything runs."""

from __future__ import annotations

import contextlib
import difflib
import glob
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from pydantic import ByteSize, Field, ValidationError

from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.class_names import read_class_names
from transforms.errors import UsageError, quoted
from transforms.isolation.bounds import Bounds
from transforms.records.config import FeatureConfig, InputConfig, OutputConfig
from transforms.records.feature import MAX_LENGTH
from transforms.settings import Settings
from transforms.storage.listing import path_exists
from transforms.storage.staging import staged
from transforms.storage.url import is_url, parse_url

# What PyYAML raises beside its own errors: for dates, numbers and tags that are none
_NO_YAML = (yaml.YAMLError, ValueError, KeyError, IndexError, AttributeError, TypeError, RecursionError)


class LimitsConfig(Settings):
    """When the run gives up.

    Attributes:
        quarantined: share of the rows that may be refused.
        record_bytes: a TFRecord record that is longer is refused.
        sequence_length: a row of more steps is refused, where their number varies.
        isolate: whether a process of its own explains the shards, so that it may crash.
        shard_s: seconds without progress, memory: resident bytes, after which such a process is killed.
        attempts: of such processes at a shard, before the row that kills them is looked for.
    """

    quarantined: float = Field(default=0.001, ge=0, le=1)
    record_bytes: ByteSize = Field(default=ByteSize(256 * 2**20), ge=1)
    sequence_length: int = Field(default=MAX_LENGTH, ge=1)
    isolate: bool = False
    shard_s: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    memory: ByteSize | None = Field(default=None, ge=1)
    attempts: int = Field(default=2, ge=1)

    @property
    def isolation(self) -> Bounds | None:
        """What such a process is held to, if there is to be one."""
        return Bounds(self.shard_s, self.memory, self.attempts) if self.isolate else None


class JobConfig(Settings):
    """What one run computes, from which data, with which model, and where it is written."""

    model: ModelConfig
    input: InputConfig
    attribution: AttributionConfig = Field(default_factory=AttributionConfig)
    output: OutputConfig
    limits: LimitsConfig = Field(default_factory=LimitsConfig)


class _Loader(yaml.SafeLoader):
    """YAML without whole numbers of more than 64 bits: hexadecimal ones can be longer than Python prints."""

    def bounded_int(self, node: Any) -> int:
        value: int = self.construct_yaml_int(node)
        if value.bit_length() > 64:
            raise yaml.constructor.ConstructorError(None, None, "a number of more than 64 bits", node.start_mark)
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.bounded_int)


def load_config(path: pathlib.Path, overrides: Iterable[str] = ()) -> JobConfig:
    """Read a YAML file; relative paths in it are taken from its own folder, a file of class names becomes the names.

    Args:
        overrides: `key.of.a.part=value` each, the value in YAML.

    Raises:
        UsageError: E_CONFIG_MISSING, E_CONFIG_YAML, E_CONFIG_KEY (with the nearest known key), E_CONFIG_VALUE,
            E_TARGET_CLASSES, E_STORE_URL, E_STORE_SECRET.
        StoreError: of a file of class names in an object store.
    """
    values = _parse(path)
    for override in overrides:
        _apply(values, override)
    return _under(path.parent.resolve(), parse_config(values))


def parse_config(values: Mapping[str, Any]) -> JobConfig:
    """Validate a mapping; raises as `load_config` does."""
    try:
        return JobConfig.model_validate(values)
    except ValidationError as error:
        raise _explained(error.errors()[0]) from None


def _parse(path: pathlib.Path) -> dict[str, Any]:
    try:
        values = _loaded(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError("E_CONFIG_MISSING", f"there is no configuration {path}") from error
    except OSError as error:
        raise UsageError("E_CONFIG_YAML", f"{path} cannot be read: {error.strerror or error}") from error
    except _NO_YAML as error:
        raise UsageError("E_CONFIG_YAML", f"{path} is not YAML: {str(error)[:300]}") from error
    if not isinstance(values, dict):
        raise UsageError("E_CONFIG_YAML", f"{path} holds {quoted(values)}; it must hold keys such as model: and input:")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise UsageError("E_CONFIG_KEY", f"--set {override!r} has no value; write KEY=VALUE")
    *parents, last = key.split(".")
    for parent in parents:
        child = values.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UsageError("E_CONFIG_KEY", f"--set {override!r}: {parent!r} is a value, not a group of keys")
        values = child
    values[last] = parse_value(text, f"--set {override!r}")


def parse_value(text: str, option: str) -> Any:
    """A value in YAML, as it stands after an option.

    Raises:
        UsageError: E_CONFIG_VALUE.
    """
    try:
        return _loaded(text)
    except _NO_YAML as error:
        raise UsageError("E_CONFIG_VALUE", f"{option}: {quoted(text)} is not a YAML value") from error


def _loaded(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _explained(error: Any) -> UsageError:
    place = ".".join(str(part) for part in error["loc"] if part != "")  # "": of all inputs, or of the only one
    if error["type"] == "extra_forbidden":
        known = _known_keys(error["loc"][:-1])
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known here are {sorted(known)}" if known else "remove it"
        return UsageError("E_CONFIG_KEY", f"unknown key {place!r}; {hint}")
    message = error["msg"].removeprefix("Value error, ")
    return UsageError("E_CONFIG_VALUE", f"{place}: {message}; found {quoted(error['input'])}")


def _known_keys(parents: tuple[Any, ...]) -> list[str]:
    if parents[:2] == ("input", "features"):
        return list(FeatureConfig.model_fields)
    model: Any = JobConfig
    for parent in parents:
        field = model.model_fields.get(parent)
        kinds = [field.annotation] if field else []
        if not kinds or not (isinstance(kinds[0], type) and issubclass(kinds[0], Settings)):
            return []  # one of several kinds, each with its own
        model = kinds[0]
    return list(model.model_fields)


def _pattern(root: pathlib.Path, path: str) -> str:
    """A path that may be a glob, below a folder whose own name is none."""
    return path if is_url(path) else str(pathlib.Path(glob.escape(str(root))) / path)


def _under(root: pathlib.Path, config: JobConfig) -> JobConfig:
    def absolute(path: str) -> str:
        return path if is_url(path) else str(root / path)

    classes = config.model.classes
    for path in (config.model.path, *config.input.files, config.output.path):
        if is_url(path):
            parse_url(path)
    # read here, where the file is: workers take the names
    with staged(absolute(classes)) if isinstance(classes, str) else contextlib.nullcontext(classes) as found:
        named = read_class_names(found) or None
    model = config.model.model_copy(update={"path": absolute(config.model.path), "classes": named})
    files = [absolute(path) if path_exists(root / path) else _pattern(root, path) for path in config.input.files]
    source = config.input.model_copy(update={"files": files})
    output = config.output.model_copy(update={"path": absolute(config.output.path)})
    return config.model_copy(update={"model": model, "input": source, "output": output})
