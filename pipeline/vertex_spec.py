"""Vertex AI's ExplanationSpec, as JSON from a stranger: read within limits, its types checked, unknown keys kept.

Source of the schema: cloud.google.com/vertex-ai/docs/reference/rest/v1/ExplanationSpec. JSON of protocol buffers may
write a field in camelCase or snake_case, null for an unset one, and an enum by name or number.
"""

from __future__ import annotations

import json
import pathlib
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from transforms.errors import UsageError, quoted

MAX_BYTES = 64 * 2**20  # a baseline may be a whole image, written as text
MAX_DEPTH = 32

Name = Annotated[str, Field(min_length=1)]


class Message(BaseModel):
    """A message of the schema. What it does not know is kept in `model_extra`, to be named rather than dropped."""

    model_config = ConfigDict(
        frozen=True, extra="allow", populate_by_name=True, alias_generator=to_camel, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_unset(cls, value: Any) -> Any:
        return {key: one for key, one in value.items() if one is not None} if isinstance(value, dict) else value


class SigmaForFeature(Message):
    """The noise of one input."""

    name: str
    sigma: float = 0.1


class FeatureNoiseSigma(Message):
    """Noise by input; what is not named has none."""

    noise_sigma: list[SigmaForFeature] = Field(default_factory=list)


class SmoothGradConfig(Message):
    """Noisy copies; Vertex's defaults are a sigma of 0.1 and 3 samples."""

    noise_sigma: float | None = None
    feature_noise_sigma: FeatureNoiseSigma | None = None
    noisy_sample_count: int = Field(default=3, ge=1)


class BlurBaselineConfig(Message):
    """A blurred image as the baseline; unset or 0: none."""

    max_blur_sigma: float = Field(default=0.0, ge=0)


class GradientAttribution(Message):
    """IntegratedGradientsAttribution and XraiAttribution, which have the same fields."""

    step_count: int = Field(ge=1, le=4096)
    smooth_grad_config: SmoothGradConfig | None = None
    blur_baseline_config: BlurBaselineConfig | None = None


class Parameters(Message):
    """ExplanationParameters: one method, and which outputs."""

    integrated_gradients_attribution: GradientAttribution | None = None
    xrai_attribution: GradientAttribution | None = None
    sampled_shapley_attribution: dict[str, Any] | None = None
    examples: dict[str, Any] | None = None
    top_k: int = Field(default=1, ge=-1)
    output_indices: list[Any] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_method(self) -> Parameters:
        given = [name for name in ("integrated_gradients_attribution", "xrai_attribution") if getattr(self, name)]
        given += [name for name in ("sampled_shapley_attribution", "examples") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"names {len(given)} methods, {' and '.join(given)}; leave one")
        return self


class InputMetadata(Message):
    """One input of the model."""

    input_baselines: list[Any] = Field(default_factory=list)
    input_tensor_name: str = ""
    encoding: str | int = "IDENTITY"
    modality: str = "numeric"
    feature_value_domain: dict[str, Any] | None = None
    indices_tensor_name: str = ""
    dense_shape_tensor_name: str = ""
    index_feature_mapping: list[Name] = Field(default_factory=list)
    encoded_tensor_name: str = ""
    encoded_baselines: list[Any] = Field(default_factory=list)
    visualization: dict[str, Any] | None = None
    group_name: str = ""


class OutputMetadata(Message):
    """One output of the model."""

    index_display_name_mapping: Any = None
    display_name_mapping_key: str = ""
    output_tensor_name: str = ""


class Metadata(Message):
    """ExplanationMetadata: inputs and outputs by a name that the user chose."""

    inputs: dict[Name, InputMetadata] = Field(min_length=1)
    outputs: dict[str, OutputMetadata] = Field(default_factory=dict)
    feature_attributions_schema_uri: str = ""
    latent_space_source: str = ""


class ExplanationSpec(Message):
    """The whole of it. `parameters` is None for a bare ExplanationMetadata, the file that gcloud takes."""

    parameters: Parameters | None = None
    metadata: Metadata


def read_spec(path: pathlib.Path) -> ExplanationSpec:
    """An ExplanationSpec, the Model resource around it, or the ExplanationMetadata within it, from a JSON file.

    Raises:
        UsageError: E_VERTEX_FILE, E_VERTEX_JSON, E_VERTEX_VALUE.
    """
    return parse_spec(_json(_content(path), path.name))


def parse_spec(value: Any) -> ExplanationSpec:
    """As `read_spec`, from parsed JSON.

    Raises:
        UsageError: E_VERTEX_VALUE.
    """
    if isinstance(value, dict):
        value = value.get("model", value) if "parameters" not in value else value
    if isinstance(value, dict):
        value = value.get("explanationSpec", value.get("explanation_spec", value))
    if isinstance(value, dict) and "inputs" in value and "metadata" not in value:
        value = {"metadata": value}
    try:
        return ExplanationSpec.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        message = first["msg"].removeprefix("Value error, ")
        found = f"{place}: {message}; found {quoted(first['input'])}; give an ExplanationSpec"
        raise UsageError("E_VERTEX_VALUE", found) from None


def _content(path: pathlib.Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError("E_VERTEX_FILE", f"{path} cannot be read: {error.strerror}; give a JSON file") from error
    if len(content) > MAX_BYTES:
        raise UsageError("E_VERTEX_FILE", f"{path} has more than {MAX_BYTES} bytes; write its baselines as one number")
    return content


def _json(content: bytes, name: str) -> Any:
    try:
        value = json.loads(content.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError("E_VERTEX_JSON", f"{name} is not JSON: {str(error)[:200]}; export the spec again") from None
    level, depth = [value], 0
    while level := [child for one in level for child in _children(one)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise UsageError("E_VERTEX_JSON", f"{name} is nested more than {MAX_DEPTH} deep; no ExplanationSpec is")
    return value


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
