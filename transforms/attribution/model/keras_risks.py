"""What a .keras file could do besides arithmetic: objects that bring code, and an archive that is more than a model.

Read from the file, nothing is built. Holes that were found in Keras's own loader have a test each, whether or not the
version at hand has closed them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from transforms.errors import quoted

SAFE_MODULES = re.compile(
    r"keras(\.(src\.)?(activations|constraints|dtype_policies|engine|initializers|layers|losses|metrics|models|ops"
    r"|optimizers|quantizers|random|regularizers|tree)(\.\w+)*)?"
)
# `keras.models.load_model` is a function as well: one is named only where functions of tensors are
FUNCTION_MODULES = re.compile(
    r"keras\.(src\.)?(activations|constraints|initializers|losses|metrics|ops|regularizers)(\.\w+)*"
)
RISKY_CLASSES = {
    "__lambda__": "Python bytecode",
    "lambda": "runs a Python function",
    "tfsmlayer": "loads a SavedModel from a path",
    "torchmodulewrapper": "unpickles a PyTorch module",
    "jaxlayer": "runs a Python function",
    "flaxlayer": "runs a Python function",
}
PLAIN_VALUES = frozenset({"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"})
_CLASS_NAME = re.compile(r"[A-Z]\w*")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def keras_risks(config: Any) -> tuple[str, ...]:
    """One line for each object of a Keras configuration (parsed JSON) that brings or runs code of its own."""
    found: set[str] = set()
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            found.update(_object_risks(value))
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, str) and _URL.match(value):
            found.add(f"names the URL {quoted(value)}")
    return tuple(sorted(found))


def _object_risks(value: Mapping[str, Any]) -> Iterator[str]:
    kind = value.get("class_name")
    if not isinstance(kind, str):
        return
    # Keras finds some classes by their name in snake case too
    known = RISKY_CLASSES.get(kind.lower() if kind.startswith("__") else kind.replace("_", "").lower())
    if known:
        yield f"{quoted(kind) if kind.lower() not in RISKY_CLASSES else kind}: {known}"
    elif kind == "function":
        yield from _function_risks(value)
        return
    yield from _origin_risks(kind, value)
    inner = value.get("config")
    if isinstance(inner, dict) and isinstance(inner.get("vocabulary"), str):
        yield f"{quoted(kind)}: reads its vocabulary from the file {quoted(inner['vocabulary'])}"


def _function_risks(value: Mapping[str, Any]) -> Iterator[str]:
    module, name = value.get("module"), value.get("config")
    if not FUNCTION_MODULES.fullmatch(str(module)) or not isinstance(name, str) or ">" in name:
        yield f"the function {quoted(name)} of the module {quoted(module)}"


def _origin_risks(kind: str, value: Mapping[str, Any]) -> Iterator[str]:
    module, registered = value.get("module"), value.get("registered_name")
    if module is not None and not _is_keras(module):
        yield f"{quoted(kind)}: not a Keras class but of the module {quoted(module)}"
    elif ">" in kind or registered not in (None, kind):
        yield f"{quoted(kind)}: a custom class, registered as {quoted(registered or kind)}"
    elif module is None and registered is not None:
        yield f"{quoted(kind)}: a custom class"
    elif kind not in PLAIN_VALUES and kind not in RISKY_CLASSES and not _CLASS_NAME.fullmatch(kind):
        yield f"{quoted(kind)}: not the name of a class"


def _is_keras(module: object) -> bool:
    """Whether Keras keeps only layers, losses and the like there: `keras.utils.get_file` is Keras, and downloads."""
    return SAFE_MODULES.fullmatch(str(module)) is not None
