"""Vertex AI's ExplanationSpec: specs like those of its documentation become jobs that load, and nothing is dropped."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

import duckdb
import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
import typer.testing
import yaml
from datasets import write_parquet
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import main
from pipeline.config import JobConfig, load_config, parse_config
from pipeline.launch import run
from pipeline.vertex import translate
from pipeline.vertex_spec import MAX_DEPTH, parse_spec, read_spec
from transforms.errors import UsageError

DOCUMENTATION = (pathlib.Path(__file__).parents[2] / "docs/vertex.md").read_text(encoding="utf-8")


def spec_of(parameters: Any = None, **inputs: Any) -> dict[str, Any]:
    """A spec with one output; parameters by default integrated gradients of 50 steps."""
    default = {"integratedGradientsAttribution": {"stepCount": 50}}
    metadata = {"inputs": inputs or {"x": {}}, "outputs": {"scores": {}}}
    return {"parameters": default | (parameters or {}), "metadata": metadata}


def gradients(**values: Any) -> dict[str, Any]:
    return {"integratedGradientsAttribution": {"stepCount": 50, **values}}


def job(spec: Any) -> tuple[JobConfig, list[str]]:
    """The job that a spec becomes, and what is said about it."""
    translation = translate(parse_spec(spec))
    return parse_config(yaml.safe_load(translation.to_yaml())), [str(note) for note in translation.notes]


def said(notes: list[str], kind: str) -> str:
    return "\n".join(note for note in notes if note.startswith(kind))


def test_a_model_resource_with_integrated_gradients() -> None:
    """The request of "Configure feature-based explanations", with its placeholders filled."""
    spec = {
        "parameters": {"integratedGradientsAttribution": {"stepCount": 25}},
        "metadata": {
            "inputs": {
                "pixels": {"inputTensorName": "numpy_inputs", "modality": "image", "visualization": {"type": "PIXELS"}}
            },
            "outputs": {"scores": {"outputTensorName": "dense_1"}},
        },
    }
    model = {"displayName": "flowers", "containerSpec": {"imageUri": "tf2-cpu"}, "explanationSpec": spec}
    config, notes = job({"model": model})
    assert (config.model.path, config.model.output, config.input.files) == ("FILL_IN", "dense_1", ["FILL_IN"])
    assert config.input.features["numpy_inputs"].column == "pixels"
    attribution = config.attribution
    assert (attribution.steps, attribution.rule, attribution.target) == (25, "gauss_legendre", "predicted")
    assert attribution.baseline == {"numpy_inputs": "zeros"}
    assert "visualization" in said(notes, "no equivalent")
    assert "Vertex chose" in said(notes, "check")
    assert job(model) == job(spec) == (config, notes)


def test_tabular_metadata_in_snake_case_with_xrai() -> None:
    """The sample of Google's own client library: names of features in a bag."""
    inputs = {
        "features": {
            "input_tensor_name": "dense_input",
            "modality": "numeric",
            "encoding": "bag_of_features",
            "index_feature_mapping": ["crim", "zn", "indus", "chas"],
        }
    }
    metadata = {"inputs": inputs, "outputs": {"prediction": {"output_tensor_name": "dense_2"}}}
    config, notes = job({"parameters": {"xrai_attribution": {"step_count": 1}}, "metadata": metadata})
    assert config.input.features["dense_input"].column == "features"
    assert config.attribution.steps == 1
    assert "xraiAttribution" in said(notes, "no equivalent")
    assert config.output.groups == {"dense_input": {"crim": (0,), "zn": (1,), "indus": (2,), "chas": (3,)}}


def test_bare_metadata_as_gcloud_takes_it() -> None:
    inputs = {"text": {"inputTensorName": "embed:0", "encoding": 6, "encodedTensorName": "embed/Relu:0"}}
    config, notes = job({"inputs": inputs, "outputs": {"label": {"outputTensorName": "StatefulPartitionedCall:0"}}})
    assert (config.attribution.steps, config.model.output) == ("auto", None)
    assert list(config.input.features) == ["embed"]
    assert "CONCAT_EMBEDDING" in said(notes, "no equivalent")
    assert "'embed/Relu:0'" in said(notes, "no equivalent")


@pytest.mark.parametrize("method", [{"sampledShapleyAttribution": {"pathCount": 10}}, {"examples": {}}])
def test_methods_without_an_equivalent(method: dict[str, Any]) -> None:
    config, notes = job({"parameters": method, "metadata": {"inputs": {"x": {}}}})
    assert (config.attribution.method.name, config.attribution.steps) == ("integrated_gradients", "auto")
    assert next(iter(method)) in said(notes, "no equivalent")


TARGETS: list[tuple[dict[str, Any], Any, str]] = [
    ({}, "predicted", "leave it out if the model's output has one entry"),
    ({"topK": 1}, "predicted", "one entry"),
    ({"topK": "3"}, {"top_k": 3}, "one entry"),
    ({"top_k": -1}, "predicted", "fill in: attribution.target"),
    ({"outputIndices": [2]}, 2, ""),
    ({"outputIndices": [2, 0], "topK": 5}, 2, "--set attribution.target=0"),
    ({"outputIndices": [[1, 2]]}, "predicted", "not a list of indices"),
    ({"outputIndices": [True]}, "predicted", "not a list of indices"),
]


@pytest.mark.parametrize(("parameters", "target", "note"), TARGETS)
def test_targets(parameters: dict[str, Any], target: Any, note: str) -> None:
    config, notes = job(spec_of(parameters))
    assert config.attribution.model_dump(mode="json")["target"] == target
    assert note in "\n".join(notes)


def test_all_outputs_where_their_names_are_known() -> None:
    spec = spec_of({"topK": -1})
    spec["metadata"]["outputs"]["scores"]["indexDisplayNameMapping"] = ["cat", "dog", "bird"]
    config, notes = job(spec)
    assert (config.attribution.targets, config.model.classes) == (3, ("cat", "dog", "bird"))
    assert "indexDisplayNameMapping" not in "\n".join(notes)


@pytest.mark.parametrize("names", [[["cat", "dog"], ["red", "green"]], ["cat", "cat"], "cat"])
def test_names_that_are_no_list_of_classes(names: Any) -> None:
    spec = spec_of()
    spec["metadata"]["outputs"]["scores"]["indexDisplayNameMapping"] = names
    config, notes = job(spec)
    assert config.model.classes is None
    assert "indexDisplayNameMapping" in said(notes, "no equivalent")


BASELINES: list[tuple[dict[str, Any], Any, str]] = [
    ({"x": {"inputBaselines": [0.5]}}, {"x": {"constant": 0.5}}, ""),
    ({"x": {"input_baselines": [[1, 2]]}}, {"x": {"constant": [1.0, 2.0]}}, ""),
    ({"x": {"inputBaselines": [0, 1]}}, {"x": [{"constant": 0.0}, {"constant": 1.0}]}, ""),
    ({"x": {"inputBaselines": ["a", 1e-5]}}, {"x": {"constant": 1e-5}}, "1 of 2 are not numbers"),
    ({"x": {"inputBaselines": [1e39]}}, {"x": "zeros"}, "1 of 1 are not numbers"),
    ({"constant": {"inputBaselines": [0, 1]}}, {"constant": [{"constant": 0.0}, {"constant": 1.0}]}, ""),
    (
        {"a": {"inputBaselines": [1, 2]}, "b": {"inputBaselines": [3, 4, 5]}, "c": {"inputBaselines": [6]}},
        {
            "a": [{"constant": 1.0}, {"constant": 2.0}],
            "b": [{"constant": 3.0}, {"constant": 4.0}],
            "c": {"constant": 6.0},
        },
        "['b'].inputBaselines: inputs need the same number of baselines: the first 2 of 3",
    ),
]


@pytest.mark.parametrize(("inputs", "baseline", "note"), BASELINES)
def test_baselines(inputs: dict[str, Any], baseline: Any, note: str) -> None:
    config, notes = job(spec_of(None, **inputs))
    assert config.attribution.model_dump(mode="json")["baseline"] == baseline
    assert note in said(notes, "no equivalent")


def test_a_blurred_baseline_is_for_images() -> None:
    blur = gradients(blurBaselineConfig={"maxBlurSigma": 4})
    config, _ = job(spec_of(blur, image={"modality": "image"}, age={"inputBaselines": [40]}))
    wanted = {"image": {"blur": 4.0}, "age": {"constant": 40.0}}
    assert config.attribution.model_dump(mode="json")["baseline"] == wanted
    config, _ = job(spec_of(blur, a={}, b={}))
    assert config.attribution.model_dump(mode="json")["baseline"] == {"a": {"blur": 4.0}, "b": {"blur": 4.0}}
    assert job(spec_of(gradients(blurBaselineConfig={})))[0].attribution.baseline == {"x": "zeros"}


NOISE: list[tuple[dict[str, Any], Any]] = [
    ({}, (3, 0.1)),
    ({"noiseSigma": 0.25, "noisySampleCount": 50}, (50, 0.25)),
    ({"noisySampleCount": 1}, (2, 0.1)),
    ({"featureNoiseSigma": {"noiseSigma": [{"name": "a", "sigma": 0.5}, {"name": "b", "sigma": 0.5}]}}, (3, 0.5)),
    ({"featureNoiseSigma": {"noiseSigma": [{"name": "a", "sigma": 0.5}, {"name": "b"}]}}, None),
    ({"featureNoiseSigma": {"noiseSigma": [{"name": "a", "sigma": 0.5}]}}, None),
    ({"noiseSigma": -1}, None),
]


@pytest.mark.parametrize(("smooth", "wanted"), NOISE)
def test_noise(smooth: dict[str, Any], wanted: Any) -> None:
    config, notes = job(spec_of(gradients(smoothGradConfig=smooth), a={}, b={}))
    noise = config.attribution.noise
    assert (noise and (noise.draws, noise.sigma)) == wanted
    assert "smoothGradConfig" in said(notes, "check" if wanted else "no equivalent")


def test_groups_sparse_inputs_and_what_is_unknown_are_named() -> None:
    inputs = {
        "a": {"groupName": "g", "featureValueDomain": {"minValue": 0}, "modality": "image"},
        "b": {"groupName": "g", "indicesTensorName": "b_indices", "denseShapeTensorName": "b_shape", "shiny": 1},
    }
    spec = spec_of({"newMethod": {}}, **inputs)
    spec["metadata"] |= {"featureAttributionsSchemaUri": "gs://b/s.yaml", "latentSpaceSource": "layer"}
    _, notes = job(spec)
    missing = said(notes, "no equivalent")
    for part in ("groupName 'g'", "'a', 'b'", "featureValueDomain", "sparse", "metadata.inputs['b'].'shiny'"):
        assert part in missing
    for part in ("parameters.'newMethod'", "featureAttributionsSchemaUri", "latentSpaceSource"):
        assert part in missing


WRONG: list[tuple[Any, str]] = [
    ([], "the file"),
    ({}, "metadata"),
    ({"metadata": {"inputs": {}}}, "metadata.inputs"),
    ({"metadata": {"inputs": {"": {}}}}, "metadata.inputs"),
    ({"metadata": {"inputs": {"x": 7}}}, "metadata.inputs.x"),
    (spec_of({"topK": -2}), "parameters.topK"),
    (spec_of(gradients(stepCount=0)), "stepCount"),
    (spec_of(gradients(stepCount="many")), "stepCount"),
    (spec_of({"examples": {}}), "2 methods"),
    (spec_of(None, x={"encoding": "ROT13"}), "ROT13"),
    (spec_of(None, x={"encoding": 7}), "encoding is 7"),
    (spec_of(None, a={"inputTensorName": "t:0"}, b={"inputTensorName": "t"}), "'t'"),
]


@pytest.mark.parametrize(("spec", "part"), WRONG)
def test_what_is_no_spec_is_refused_by_place(spec: Any, part: str) -> None:
    with pytest.raises(UsageError, match="E_VERTEX_VALUE") as caught:
        translate(parse_spec(spec))
    assert part in str(caught.value)


BROKEN = {
    "nan": b'{"a": NaN}',
    "latin": b'{"\xff": 1}',
    "cut": b'{"a": ',
    "deep": b'{"a": ' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    "abyss": b"[" * 200_000,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_what_is_no_json_is_refused(content: bytes, tmp_path: pathlib.Path) -> None:
    (tmp_path / "spec.json").write_bytes(content)
    with pytest.raises(UsageError, match="E_VERTEX_JSON"):
        read_spec(tmp_path / "spec.json")


def test_a_file_that_is_too_long_or_not_there(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.vertex_spec.MAX_BYTES", 20)
    (tmp_path / "spec.json").write_text(json.dumps(spec_of()))
    for path in (tmp_path / "spec.json", tmp_path / "other.json", tmp_path):
        with pytest.raises(UsageError, match="E_VERTEX_FILE"):
            read_spec(path)


@settings(max_examples=60, deadline=None)
@given(names=st.lists(st.text(min_size=1), min_size=1, max_size=3, unique=True), group=st.text())
def test_any_name_survives_the_file_and_stays_out_of_its_comments(names: list[str], group: str) -> None:
    spec = spec_of(None, **{name: {"groupName": group} for name in names})
    translation = translate(parse_spec(json.loads(json.dumps(spec))))
    config = parse_config(yaml.safe_load(translation.to_yaml()))
    assert [feature.column for feature in config.input.features.values()] == names
    assert len(str(translation.to_yaml()).split("\n\n")[0].split("\n")) == 2 + len(translation.notes)


def test_the_command_writes_once_and_says_what_to_do(tmp_path: pathlib.Path) -> None:
    spec, out = tmp_path / "spec.json", tmp_path / "job.yaml"
    spec.write_text(json.dumps(spec_of()))
    runner = typer.testing.CliRunner()
    result = runner.invoke(main.app, ["import-vertex", str(spec), "--out", str(out)])
    assert result.exit_code == 0
    assert "fill in: input.files" in result.output
    shown = runner.invoke(main.app, ["import-vertex", str(spec)])
    assert shown.output == out.read_text(encoding="utf-8")
    again = runner.invoke(main.app, ["import-vertex", str(spec), "--out", str(out)])
    assert "E_VERTEX_OUT" in str(again.exception)


ROWS = 6


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of a run whose configuration was imported, with nothing but the places filled in."""
    place = tmp_path_factory.mktemp("vertex")
    keras.utils.set_random_seed(3)
    image, age = keras.Input((2, 2, 1), name="image"), keras.Input((1,), name="age")
    joined = keras.layers.Concatenate()([keras.layers.Flatten()(image), age])
    logits = keras.layers.Dense(3)(keras.layers.Dense(4, activation="tanh")(joined))
    keras.Model([image, age], logits).save(place / "model.keras")
    random = np.random.default_rng(0)
    columns = {"image": random.normal(size=(ROWS, 4)).astype(np.float32), "age": random.normal(size=(ROWS, 1))}
    write_parquet(place / "rows.parquet", columns)
    inputs = {
        "image": {"inputTensorName": "serving_default_image:0", "inputBaselines": [0, 1], "groupName": "both"},
        "age": {"inputBaselines": [0.5], "groupName": "both"},
    }
    (place / "spec.json").write_text(json.dumps(spec_of({"topK": 2}, **inputs)))
    command = ["import-vertex", str(place / "spec.json"), "--out", str(place / "job.yaml")]
    assert typer.testing.CliRunner().invoke(main.app, command).exit_code == 0
    filled = ["model.path=model.keras", "input.files=rows.parquet"]
    run(load_config(place / "job.yaml", filled), place)
    return place


def test_an_imported_job_runs_and_its_view_has_vertex_names(
    explained: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(explained)
    view, groups = re.findall(r"```sql\n(.*?)```", DOCUMENTATION, re.S)
    database = duckdb.connect()
    database.sql(view)
    rows = database.sql("SELECT * EXCLUDE row_id FROM explanations").to_arrow_table().to_pylist()
    table = pq.read_table(next((explained / "out/explanations").glob("part-*.parquet"))).to_pylist()
    assert len(rows) == 2 * ROWS
    for row, stored in zip(rows, table, strict=True):
        assert row["instanceOutputValue"] == stored["output"]
        assert row["baselineOutputValue"] == stored["baseline_output"]
        assert row["outputIndex"] == [stored["target"]]
        assert row["outputDisplayName"] == ["cat", "dog", "bird"][stored["target"]]
        assert (row["outputName"], row["approximationError"]) == ("scores", stored["relative_delta"])
        assert list(row["featureAttributions"]) == ["image", "age"]
        assert row["featureAttributions"]["image"] == stored["attribution_image"]
    sums = [total for _, total in database.sql(groups).fetchall()]
    # five attributions, two outputs and a delta, each rounded to float32, all of them below 4 in size
    wanted = [stored["output"] - stored["baseline_output"] + stored["delta"] for stored in table]
    np.testing.assert_allclose(sums, wanted, atol=8 * 4 * 2.0**-24)
