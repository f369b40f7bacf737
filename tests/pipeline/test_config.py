"""The configuration: round trips, overrides, paths, and refusals that name the nearest key."""

from __future__ import annotations

import itertools
import pathlib
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import JobConfig, load_config, parse_config
from transforms.errors import UsageError

PLAIN: dict[str, Any] = {
    "model": {"path": "m"},
    "input": {"files": "d.parquet", "features": {"image": "pixels"}},
    "output": {"path": "out"},
}
names = st.text(min_size=1, max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
positions = st.dictionaries(names, st.lists(st.integers(0, 99), max_size=3), max_size=2)
one_baseline = st.one_of(
    st.just("zeros"),
    st.builds(lambda value: {"constant": value}, numbers | st.lists(numbers, max_size=3)),
    st.builds(lambda name: {"column": name}, names),
)
feature = st.fixed_dictionaries(
    {"column": names},
    optional={
        "shape": st.lists(st.integers(1, 9), max_size=3),
        "dtype": st.sampled_from(["uint8", "float64"]),
        "decode": st.sampled_from([None, "raw", "image"]),
        "scale": numbers,
        "offset": numbers,
    },
)
jobs = st.fixed_dictionaries(
    {
        "model": st.fixed_dictionaries(
            {"path": names},
            optional={
                "signature": names,
                "output": names | st.integers(0, 3),
                "activation": st.sampled_from([None, "softmax"]),
            },
        ),
        "input": st.fixed_dictionaries(
            {
                "files": names | st.lists(names, min_size=1, max_size=3),
                "features": st.dictionaries(names, names | feature, min_size=1, max_size=3),
            },
            optional={"id": names, "label": names, "keep": st.lists(names), "rows": st.integers(0, 99)},
        ),
        "output": st.fixed_dictionaries(
            {"path": names},
            optional={
                "dtype": st.sampled_from(["float32", "float16"]),
                "reduce": st.dictionaries(names, st.lists(st.just("channels") | st.integers(-3, 3), max_size=2)),
                "groups": positions | st.dictionaries(names, positions, max_size=2),
                "top": st.none() | st.integers(1, 9),
                "shard_bytes": st.sampled_from(["128MiB", "1kB", 77]),
            },
        ),
    },
    optional={
        "attribution": st.fixed_dictionaries(
            {},
            optional={
                "target": st.sampled_from(["label", "predicted", 0, 7, None, {"top_k": 3}]),
                "baseline": one_baseline | st.dictionaries(names, one_baseline, max_size=2),
                "steps": st.just("auto") | st.integers(2, 4096),
                "max_steps": st.integers(4, 4096),
                "hoist": st.booleans(),
                "batch_size": st.just("auto") | st.integers(1, 99),
                "seed": st.integers(0, 9),
            },
        ),
        "limits": st.fixed_dictionaries({}, optional={"quarantined": st.floats(0, 1), "record_bytes": st.just("2MiB")}),
    },
)


@given(jobs)
def test_a_job_survives_yaml(values: dict[str, Any]) -> None:
    job = parse_config(values)
    plain = job.model_dump(mode="json")
    again = parse_config(yaml.safe_load(yaml.safe_dump(plain)))
    assert again == job
    assert again.model_dump(mode="json") == plain


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    file = tmp_path / "job é.yaml"
    file.write_text(yaml.safe_dump(PLAIN), encoding="utf-8")
    return file


def test_short_forms_and_sizes(path: pathlib.Path) -> None:
    job = load_config(path, ["output.shard_bytes=128MiB"])
    assert job.input.features["image"].column == "pixels"
    assert (job.output.shard_bytes, job.limits.record_bytes) == (128 * 2**20, 256 * 2**20)
    assert job.attribution.baseline == {"": "zeros"}


def test_paths_are_relative_to_the_files_folder(path: pathlib.Path) -> None:
    job = load_config(path, ["input.files=[a-*.parquet, /abs/b, s3://bucket/c]"])
    folder = path.parent
    assert (job.model.path, job.output.path) == (str(folder / "m"), str(folder / "out"))
    assert job.input.files == [str(folder / "a-*.parquet"), "/abs/b", "s3://bucket/c"]


def test_a_file_of_class_names_is_read_beside_the_configuration(path: pathlib.Path) -> None:
    (path.parent / "names.txt").write_text("cat\ndog\n", encoding="utf-8")
    assert load_config(path, ["model.classes=names.txt"]).model.classes == ("cat", "dog")


def test_the_files_folder_is_no_pattern(tmp_path: pathlib.Path) -> None:
    from transforms.storage.listing import list_files

    folder = tmp_path / "run [1]*"
    folder.mkdir()
    for name in ("d-1.parquet", "shard[1].parquet"):
        (folder / name).write_bytes(b"x")
    (folder / "job.yaml").write_text(yaml.safe_dump(PLAIN), encoding="utf-8")
    job = load_config(folder / "job.yaml", ["input.files=[d-*.parquet, 'shard[1].parquet']"])
    assert list_files(job.input.files) == [str(folder / "d-1.parquet"), str(folder / "shard[1].parquet")]


OVERRIDES = {
    "attribution.steps=100": lambda job: job.attribution.steps == 100,
    "attribution.target=predicted": lambda job: job.attribution.target == "predicted",
    "attribution.target=3": lambda job: job.attribution.target == 3,
    "attribution.steps=auto": lambda job: (job.attribution.steps, job.attribution.rule) == ("auto", "nested"),
    "attribution={steps: 9}": lambda job: (job.attribution.steps, job.attribution.rule) == (9, "gauss_legendre"),
    "attribution.target={top_k: 3}": lambda job: job.attribution.targets == 3,
    "attribution.target={name: cat}": lambda job: job.attribution.target.name == "cat",
    "attribution.target={contrast: [cat, 0]}": lambda job: job.attribution.target.contrast == ("cat", 0),
    "attribution.target={reduce: mean, of: {top_k: 2}}": lambda job: job.attribution.targets == 2,
    "attribution.target={function: 'm:f'}": lambda job: job.attribution.code == ("m:f",),
    "model.classes=[cat, dog]": lambda job: job.model.classes == ("cat", "dog"),
    "attribution.target=null": lambda job: job.attribution.target is None,
    "attribution.tolerance=1e-3": lambda job: job.attribution.tolerance == 1e-3,
    "model.layer=dense": lambda job: job.model.layer == "dense",
    "attribution.baseline={input: 1}": lambda job: job.attribution.baseline_of("embedding").input == 1.0,
    "attribution.baseline={constant: 1}": lambda job: job.attribution.baseline_of("image").constant == 1.0,
    "input.keep=[split, b]": lambda job: job.input.keep == ("split", "b"),
    "input.features.image.scale=0.5": lambda job: job.input.features["image"].scale == 0.5,
    "output.reduce.image=[channels]": lambda job: job.output.reduce == {"image": ("channels",)},
    "output.groups={a: [0, 2], b: [1]}": lambda job: job.output.groups == {"": {"a": (0, 2), "b": (1,)}},
    "output.groups.x={a: [0, 2]}": lambda job: job.output.groups == {"x": {"a": (0, 2)}},
    "output.top=5": lambda job: job.output.top == 5,
    "limits.quarantined=0.5": lambda job: job.limits.quarantined == 0.5,
}


@pytest.mark.parametrize("override", list(OVERRIDES))
def test_an_override_of_every_kind(tmp_path: pathlib.Path, override: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(PLAIN | {"input": PLAIN["input"] | {"features": {"image": {"column": "pixels"}}}}))
    assert OVERRIDES[override](load_config(file, [override]))


REFUSED = {
    "atribution.steps=1": ("E_CONFIG_KEY", ["'atribution", "'attribution'"]),
    "model.pat=x": ("E_CONFIG_KEY", ["'model.pat'", "'path'"]),
    "attribution.stepz=1": ("E_CONFIG_KEY", ["'attribution.stepz'", "'steps'"]),
    "limits.quarantine=1": ("E_CONFIG_KEY", ["'limits.quarantine'", "'quarantined'"]),
    "input.features.image={column: a, shap: [1]}": ("E_CONFIG_KEY", ["'input.features.image.shap'", "'shape'"]),
    "output.zzzzqqq=1": ("E_CONFIG_KEY", ["'output.zzzzqqq'", "shard_bytes"]),
    "attribution.rule=riemann_left": ("E_CONFIG_VALUE", ["riemann_left", "steps: auto", "50"]),
    "attribution.max_steps=3": ("E_CONFIG_VALUE", ["attribution.max_steps", "4", "3"]),
    "attribution.target={top_k: 0}": ("E_CONFIG_VALUE", ["attribution.target", "top_k"]),
    "attribution.target={reduce: median}": ("E_CONFIG_VALUE", ["attribution.target.reduce", "'median'", "'max'"]),
    "attribution.target={index: []}": ("E_CONFIG_VALUE", ["attribution.target.index", "1"]),
    "attribution.target={best: 1}": ("E_CONFIG_VALUE", ["attribution.target", "{function: module:function}"]),
    "attribution.target={name: a, of: 1}": ("E_CONFIG_KEY", ["attribution.target.name.of", "remove"]),
    "model.classes=[yes]": ("E_CONFIG_VALUE", ["model.classes", "string"]),
    "model.classes=[a, a]": ("E_TARGET_CLASSES", ["'a'", "entry 1"]),
    "model.classes=names.txt": ("E_TARGET_CLASSES", ["names.txt"]),
    "attribution.steps=0": ("E_CONFIG_VALUE", ["attribution.steps", "1", "0"]),
    "attribution.rule=simpson": ("E_CONFIG_VALUE", ["attribution.rule", "gauss_legendre", "'simpson'"]),
    "input.features={}": ("E_CONFIG_VALUE", ["input.features"]),
    "input.features={x: [a, b]}": ("E_CONFIG_VALUE", ["input.features", "x: an input comes from one column"]),
    "input.features={x: {columns: [a]}}": ("E_CONFIG_VALUE", ["input.features", "x: an input comes from one column"]),
    "output.groups={a: [0], x: {b: [1]}}": ("E_CONFIG_VALUE", ["output.groups", "{INPUT: {NAME: [positions]}}"]),
    "output.groups={'': {a: [0]}, x: {b: [1]}}": ("E_CONFIG_VALUE", ["output.groups", "name the inputs"]),
    "output.groups={a: [first]}": ("E_CONFIG_VALUE", ["output.groups.a.0", "'first'"]),
    "output.top=0": ("E_CONFIG_VALUE", ["output.top", "0"]),
    "output.shard_bytes=12 parsecs": ("E_CONFIG_VALUE", ["output.shard_bytes", "12 parsecs"]),
    "attribution.steps": ("E_CONFIG_KEY", ["KEY=VALUE"]),
    "attribution.baseline=[{input: 0}, zeros]": ("E_CONFIG_VALUE", ["attribution.baseline"]),
    "model.path.x=1": ("E_CONFIG_KEY", ["'path'", "value"]),
    "attribution.steps=[": ("E_CONFIG_VALUE", ["YAML"]),
}


@pytest.mark.parametrize("override", list(REFUSED))
def test_a_wrong_key_or_value_is_named_with_its_remedy(path: pathlib.Path, override: str) -> None:
    code, parts = REFUSED[override]
    with pytest.raises(UsageError) as caught:
        load_config(path, [override])
    assert (caught.value.code, caught.value.exit_code) == (code, 2)
    assert len(str(caught.value)) <= 500
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "just text", "", "- 1", "a: &x [*x]\nb: {{}: 1}"])
def test_a_file_that_is_no_configuration(tmp_path: pathlib.Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"E_CONFIG_(YAML|KEY|VALUE)"):
        load_config(tmp_path / "c.yaml")


def test_a_missing_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UsageError, match=r"E_CONFIG_MISSING.*no\.yaml"):
        load_config(tmp_path / "no.yaml")


def test_a_job_is_a_value() -> None:
    assert parse_config(PLAIN) == JobConfig.model_validate(PLAIN)
    with pytest.raises(ValueError, match="frozen"):
        parse_config(PLAIN).model.path = "other"


# found by fuzzing: what PyYAML answers with exceptions that are none of its own, or with values that cannot be printed
STRANGE_YAML = ["2001-99-99", "!!timestamp x", "!!bool x", "!!int ''", "!!float x", "9" * 5000, "0x" + "f" * 9000]


@pytest.mark.parametrize("value", STRANGE_YAML, ids=lambda value: value[:14])
def test_yaml_that_stands_for_no_value_is_refused(tmp_path: pathlib.Path, value: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(PLAIN) + f"attribution: {{seed: {value}}}\n")
    with pytest.raises(UsageError, match="E_CONFIG_YAML"):
        load_config(path)
    path.write_text(yaml.safe_dump(PLAIN))
    with pytest.raises(UsageError, match="E_CONFIG_VALUE"):
        load_config(path, [f"attribution.seed={value}"])


def test_a_few_lines_that_stand_for_billions_of_values_are_refused_at_once(tmp_path: pathlib.Path) -> None:
    bomb = "".join(f"{after}: &{after} [{f'*{mark}, ' * 9}]\n" for mark, after in itertools.pairwise("abcdefghijklm"))
    path = tmp_path / "c.yaml"
    for text in (f"- &a x\n- {{{'}, {'.join(bomb.splitlines())}}}\n", f"a: &a x\n{bomb}model: *m\n"):
        path.write_text(text)
        with pytest.raises(UsageError, match="E_CONFIG_") as caught:
            load_config(path)
        assert len(str(caught.value)) <= 500


def test_a_path_that_is_too_long_is_not_there(tmp_path: pathlib.Path) -> None:
    path, files = tmp_path / "c.yaml", "x" * 5000
    path.write_text(yaml.safe_dump(PLAIN | {"input": PLAIN["input"] | {"files": files}}))
    assert load_config(path).input.files == [str(tmp_path.resolve() / files)]


def test_a_configuration_that_cannot_be_read_is_named(tmp_path: pathlib.Path) -> None:
    for path in (tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(UsageError, match=r"E_CONFIG_YAML.*cannot be read"):
            load_config(path)
