"""The inputs of Vertex AI's ExplanationSpec: their names here, their baselines, and what does not come along."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pipeline.vertex_spec import InputMetadata
from transforms.errors import UsageError, quoted

MAX_FLOAT32 = 3.4028234663852886e38
ENCODINGS = (
    "ENCODING_UNSPECIFIED",
    "IDENTITY",
    "BAG_OF_FEATURES",
    "BAG_OF_FEATURES_SPARSE",
    "INDICATOR",
    "COMBINED_EMBEDDING",
    "CONCAT_EMBEDDING",
)
EMBEDDINGS = ENCODINGS[5:]
GRAPH_NAME = re.compile(r"(?:serving_default_)?(?P<name>.+?)(?::\d+)?$")


@dataclasses.dataclass(frozen=True)
class Note:
    """One line for the user: what to fill in, what has no equivalent, and what to check."""

    kind: Literal["fill in", "no equivalent", "check"]
    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.field}: {self.text}"


def _place(key: str) -> str:
    return f"metadata.inputs[{quoted(key)}]"


def model_inputs(inputs: Mapping[str, InputMetadata], notes: list[Note]) -> dict[str, str]:
    """Vertex's name of a feature -> the model's name of the input: that of the tensor, where there is one."""
    names = {key: signature_name(given.input_tensor_name) or key for key, given in inputs.items()}
    shared = [name for name, count in collections.Counter(names.values()).items() if count > 1]
    if shared:
        raise UsageError(
            "E_VERTEX_VALUE", f"several of metadata.inputs have the tensor {quoted(shared[0])}; name each input once"
        )
    for key, name in names.items():
        if inputs[key].input_tensor_name not in ("", name):
            text = f"taken to be the model's input {quoted(name)}; `attribeam inspect MODEL` lists them"
            notes.append(Note("check", f"{_place(key)}.inputTensorName", text))
    return names


def signature_name(tensor: str) -> str:
    """The name in the signature of a tensor in the graph: `serving_default_image:0` is `image`."""
    found = GRAPH_NAME.match(tensor)
    return found["name"] if found else ""


def baselines(inputs: Mapping[str, InputMetadata], blur: float, notes: list[Note]) -> dict[str, Any]:
    """By Vertex's name: the baselines of each input, as many for each input that has several.

    Args:
        blur: sigma of the blurred baseline of images, of all inputs where none is called an image; 0: none. The path
            from it is a straight one, in Vertex as here: not that of blur_integrated_gradients.
    """
    images = [key for key, given in inputs.items() if given.modality == "image"] or list(inputs)
    found = {key: _constants(key, given, notes) for key, given in inputs.items()}
    if blur:
        found |= {key: [{"blur": blur}] for key in images}
    for key in [key for key, several in found.items() if not several]:
        notes.append(Note("check", f"{_place(key)}.inputBaselines", "none: Vertex chose one itself; zeros is written"))
    least = min((len(several) for several in found.values() if len(several) > 1), default=1)
    for key in [key for key, several in found.items() if len(several) > least]:
        text = f"inputs need the same number of baselines: the first {least} of {len(found[key])} are written"
        notes.append(Note("no equivalent", f"{_place(key)}.inputBaselines", text))
    return {key: several[0] if len(several) == 1 else several[:least] or "zeros" for key, several in found.items()}


def _constants(key: str, given: InputMetadata, notes: list[Note]) -> list[Any]:
    good = [one for one in given.input_baselines if _is_numbers(one)]
    if len(good) < len(given.input_baselines):
        count = len(given.input_baselines)
        text = f"{count - len(good)} of {count} are not numbers, left out"
        notes.append(Note("no equivalent", f"{_place(key)}.inputBaselines", text))
    return [{"constant": one} for one in good]


def _is_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_numbers, value))
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MAX_FLOAT32


def input_notes(inputs: Mapping[str, InputMetadata]) -> Iterator[Note]:
    """What of each input has no equivalent, or is to be looked at."""
    for key, given in inputs.items():
        yield from _notes_of_one(_place(key), given)


def _notes_of_one(place: str, given: InputMetadata) -> Iterator[Note]:
    encoding = _encoding(given.encoding, place)
    if encoding in EMBEDDINGS or given.encoded_tensor_name or given.encoded_baselines:
        text = f"explain the layer {quoted(given.encoded_tensor_name)} instead: model.layer, and its baseline"
        yield Note("no equivalent", f"{place}.encoding {encoding}", text)
    if encoding == "BAG_OF_FEATURES_SPARSE" or given.indices_tensor_name or given.dense_shape_tensor_name:
        yield Note("no equivalent", f"{place}: a sparse tensor", "store the rows dense")
    if given.modality == "image":
        yield Note("check", f"{place}.modality", "image: for JPEG or PNG set decode: image, and scale")
    if given.feature_value_domain is not None:
        yield Note("no equivalent", f"{place}.featureValueDomain", "the model is fed what is stored, times scale")
    if given.visualization is not None:
        yield Note("no equivalent", f"{place}.visualization", "the output is numbers")


def _encoding(given: str | int, place: str) -> str:
    if isinstance(given, int) and 0 <= given < len(ENCODINGS):
        return ENCODINGS[given]
    if str(given).upper() not in ENCODINGS:
        raise UsageError("E_VERTEX_VALUE", f"{place}.encoding is {quoted(given)}; known are {', '.join(ENCODINGS)}")
    return str(given).upper()


def feature_groups(inputs: Mapping[str, InputMetadata], names: Mapping[str, str]) -> dict[str, dict[str, list[int]]]:
    """`output.groups`: by model input, the positions of each feature that Vertex names; one name may have several."""
    groups: dict[str, dict[str, list[int]]] = {}
    for key, given in inputs.items():
        for position, feature in enumerate(given.index_feature_mapping):
            groups.setdefault(names[key], {}).setdefault(feature, []).append(position)
    return groups


def group_notes(inputs: Mapping[str, InputMetadata], names: Mapping[str, str]) -> Iterator[Note]:
    """Inputs that Vertex explains as one."""
    groups: dict[str, list[str]] = {}
    for key, given in inputs.items():
        groups.setdefault(given.group_name, []).append(names[key])
    for group, members in groups.items():
        if group and len(members) > 1:
            text = f"inputs stay apart; add up the attributions of {', '.join(map(quoted, members))} (docs/vertex.md)"
            yield Note("no equivalent", f"groupName {quoted(group)}", text)
