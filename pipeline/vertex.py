"""Vertex AI's ExplanationSpec becomes a configuration, and every field that cannot come along is named.

Field by field: docs/vertex.md. Vertex takes Gauss-Legendre nodes, averages several baselines, and explains the largest
entry of the output where nothing else is said; so does what is written here.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from pipeline.vertex_inputs import (
    Note,
    baselines,
    feature_groups,
    group_notes,
    input_notes,
    model_inputs,
    signature_name,
)
from pipeline.vertex_spec import ExplanationSpec, GradientAttribution, Parameters, SmoothGradConfig
from transforms.errors import UsageError, quoted

FILL_IN = "FILL_IN"


@dataclasses.dataclass(frozen=True)
class Translation:
    """The values of a configuration, as `pipeline.config` reads them, and what to say about them."""

    config: Mapping[str, Any]
    notes: tuple[Note, ...]

    def to_yaml(self) -> str:
        """The configuration file: the notes as comments, then the values."""
        comments = ["# From a Vertex AI ExplanationSpec; docs/vertex.md says what became of each field.", "#"]
        comments += [f"# {note}" for note in self.notes]
        values = yaml.safe_dump(dict(self.config), sort_keys=False, default_flow_style=None)
        return "\n".join([*comments, "", values])


def translate(spec: ExplanationSpec) -> Translation:
    """The configuration nearest to a spec.

    Raises:
        UsageError: E_VERTEX_VALUE.
    """
    notes = [
        Note("fill in", "model.path", "a SavedModel directory or .keras file; the spec does not say where it is"),
        Note("fill in", "input.files", "the rows; each column is taken to have the name of its Vertex feature"),
        Note("fill in", "output.path", "where the run is written"),
    ]
    inputs = spec.metadata.inputs
    names = model_inputs(inputs, notes)
    notes += [*input_notes(inputs), *group_notes(inputs, names)]
    groups = feature_groups(inputs, names)
    classes = {"classes": _class_names(spec)} if _class_names(spec) else {}
    config = {
        "model": {"path": FILL_IN, **_output(spec, notes), **classes},
        "input": {"files": FILL_IN, "features": {names[key]: {"column": key} for key in inputs}},
        "attribution": _attribution(spec, names, notes),
        "output": {"path": "out/explanations", **({"groups": groups} if groups else {})},
    }
    notes += _metadata_notes(spec)
    return Translation(config, tuple(notes))


def write_config(translation: Translation, path: pathlib.Path) -> None:
    """Write the YAML file; one that is there is kept.

    Raises:
        UsageError: E_VERTEX_OUT.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(translation.to_yaml())
    except OSError as error:
        raise UsageError("E_VERTEX_OUT", f"{path} cannot be written: {error.strerror}; give another --out") from error


def _attribution(spec: ExplanationSpec, names: Mapping[str, str], notes: list[Note]) -> dict[str, Any]:
    inputs, gradients = spec.metadata.inputs, _gradients(spec.parameters, notes)
    blur = gradients.blur_baseline_config if gradients else None
    found = baselines(inputs, blur.max_blur_sigma if blur else 0.0, notes)
    values = {
        "method": "integrated_gradients",
        "target": _target(spec, notes),
        "baseline": {names[key]: baseline for key, baseline in found.items()},
    }
    if gradients is None:
        return values | {"steps": "auto"}
    noise = _noise(gradients.smooth_grad_config, set(inputs), notes) if gradients.smooth_grad_config else None
    return values | ({"noise": noise} if noise else {}) | {"steps": gradients.step_count, "rule": "gauss_legendre"}


def _output(spec: ExplanationSpec, notes: list[Note]) -> dict[str, str]:
    outputs = spec.metadata.outputs
    if len(outputs) > 1:
        text = f"the first of {len(outputs)} outputs is taken; Vertex allows one"
        notes.append(Note("check", "metadata.outputs", text))
    for key, given in list(outputs.items())[:1]:
        place, tensor = f"metadata.outputs[{quoted(key)}]", signature_name(given.output_tensor_name)
        if given.index_display_name_mapping is not None and not _class_names(spec):
            text = "not a list of different names, left out"
            notes.append(Note("no equivalent", f"{place}.indexDisplayNameMapping", text))
        if given.display_name_mapping_key:
            text = "names are not read from a prediction"
            notes.append(Note("no equivalent", f"{place}.displayNameMappingKey", text))
        if tensor and tensor != "StatefulPartitionedCall":  # every SavedModel's tensor has this name in the graph
            text = f"taken to be the model's output {quoted(tensor)}; leave model.output out if it has one"
            notes.append(Note("check", f"{place}.outputTensorName", text))
            return {"output": tensor}
    return {}


def _gradients(parameters: Parameters | None, notes: list[Note]) -> GradientAttribution | None:
    """Steps, noise and blur of the method; None where integrated gradients stands in for another one."""
    if parameters is None:
        notes.append(Note("check", "parameters", "not given; integrated gradients with steps: auto is written"))
        return None
    if parameters.xrai_attribution:
        text = "integrated gradients of the same steps is written; XRAI sums it over regions of the image"
        notes.append(Note("no equivalent", "parameters.xraiAttribution", text))
    if parameters.sampled_shapley_attribution is not None:
        text = "integrated gradients with steps: auto is written; the model must be differentiable"
        notes.append(Note("no equivalent", "parameters.sampledShapleyAttribution", text))
    if parameters.examples is not None:
        text = "neighbours are not searched for; integrated gradients with steps: auto is written"
        notes.append(Note("no equivalent", "parameters.examples", text))
    return parameters.integrated_gradients_attribution or parameters.xrai_attribution


def _target(spec: ExplanationSpec, notes: list[Note]) -> Any:
    """`attribution.target`: an index, the k largest, or the largest."""
    parameters = spec.parameters or Parameters()
    place, indices = "parameters.outputIndices", parameters.output_indices
    if all(isinstance(index, int) and not isinstance(index, bool) and index >= 0 for index in indices) and indices:
        if len(indices) > 1:
            text = f"one entry a run: the first is written; run again with --set attribution.target={indices[1]}, ..."
            notes.append(Note("no equivalent", place, text))
        return indices[0]
    if indices:
        notes.append(Note("no equivalent", place, "not a list of indices; the largest entry is written"))
    if parameters.top_k == -1:
        return _all_outputs(spec, notes)
    notes.append(Note("check", "attribution.target", "leave it out if the model's output has one entry"))
    return {"top_k": parameters.top_k} if parameters.top_k > 1 else "predicted"


def _all_outputs(spec: ExplanationSpec, notes: list[Note]) -> Any:
    if _class_names(spec):
        return {"top_k": len(_class_names(spec))}
    notes.append(Note("fill in", "attribution.target", "topK is -1, all: write {top_k: number of classes}"))
    return "predicted"


def _class_names(spec: ExplanationSpec) -> list[str]:
    """`model.classes`: the names of the first output's entries, where they are a list of different ones."""
    names = next((output.index_display_name_mapping for output in spec.metadata.outputs.values()), None)
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        return []
    return names if len(set(names)) == len(names) else []


def _noise(given: SmoothGradConfig, inputs: set[str], notes: list[Note]) -> dict[str, Any] | None:
    place = "parameters.….smoothGradConfig"
    sigmas = {given.noise_sigma if given.noise_sigma is not None else 0.1}
    if given.feature_noise_sigma:
        by_name = {one.name: one.sigma for one in given.feature_noise_sigma.noise_sigma}
        sigmas = {by_name.get(name, 0.0) for name in inputs}
    if len(sigmas) > 1 or min(sigmas) <= 0:
        text = "one positive sigma for all inputs: no noise is written; scale the inputs alike, or leave it"
        notes.append(Note("no equivalent", f"{place}.featureNoiseSigma", text))
        return None
    text = "Vertex adds the noise to the points of the path, smoothgrad here to the row: the values differ"
    notes.append(Note("check", place, text))
    if given.noisy_sample_count < 2:
        notes.append(Note("check", f"{place}.noisySampleCount", "2 draws are the fewest here"))
    return {"kind": "smoothgrad", "draws": max(2, given.noisy_sample_count), "sigma": sigmas.pop()}


def _metadata_notes(spec: ExplanationSpec) -> Iterator[Note]:
    if spec.metadata.feature_attributions_schema_uri:
        text = "the output's Parquet files carry their own schema"
        yield Note("no equivalent", "metadata.featureAttributionsSchemaUri", text)
    if spec.metadata.latent_space_source:
        yield Note("no equivalent", "metadata.latentSpaceSource", "is for explanations by examples")
    for place in _unknown(spec, ""):
        yield Note("no equivalent", place, "unknown here, left out")


def _unknown(message: BaseModel, place: str) -> Iterator[str]:
    """The paths of keys that the schema does not know, at any level."""
    yield from (f"{place}{quoted(key)}" for key in message.model_extra or ())
    for name, value in message:
        inner = {None: value} if not isinstance(value, dict) else value
        for key, child in inner.items():
            if isinstance(child, BaseModel):
                yield from _unknown(child, f"{place}{name}." if key is None else f"{place}{name}[{quoted(key)}].")
