"""`IntegratedGradientsHandler` under the real RunInference: keyed or not, batched, shared, with dead letters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apache_beam as beam
import collected
import datasets
import numpy as np
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.ml.inference.base import KeyedModelHandler, KeyModelMapping, PredictionResult, RunInference
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from collected import counters, kept

from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.explainer import Explainer
from transforms.errors import Fault, UsageError
from transforms.loose_examples import Example
from transforms.model_handler import HandlerOptions, IntegratedGradientsHandler, key_as_id, raise_fault

STEPS = 8
ROWS = datasets.rows()
X, LABELS, IDS = ROWS["pixels"], ROWS["label"], ROWS["name"]
# as in test_example_explainer: three terms of at most 1 in a gradient, 16 roundings behind it, STEPS of them added
TOLERANCE = (STEPS + 16) * 2.0**-23 * 3 * np.abs(X)
NOISE = {"kind": "smoothgrad", "draws": 2, "sigma": 0.5}
EXAMPLES = [Example(X[row], int(LABELS[row])) for row in range(len(X))]
KEYED = list(zip(IDS, EXAMPLES, strict=True))

Handler = Callable[..., IntegratedGradientsHandler]


def run(elements: list[Any], inference: RunInference) -> Any:
    """What RunInference makes of the elements stays in `kept`; gives the pipeline's result."""

    def outputs(found: Any) -> dict[str, Any]:
        if not isinstance(found, tuple):
            return {"main": found}
        main, letters = found
        # one step after another, each with its own
        failed = zip(("failed_postprocessing",), letters.failed_postprocessing, strict=False)
        return {"main": main, "failed_inferences": letters.failed_inferences, **dict(failed)}

    return collected.run(elements, inference, outputs)


@pytest.fixture(scope="module")
def handler(build: Any) -> Handler:
    """handler(options, model=..., **attribution) → a handler of that model."""

    def made(options: HandlerOptions | None = None, make: Any = datasets.keras_classifier, **attribution: Any) -> Any:
        built = build(make)
        config = AttributionConfig(**{"steps": STEPS} | built.attribution | attribution)
        return IntegratedGradientsHandler(ModelConfig(**built.model), config, options)

    return made


@pytest.fixture(scope="module")
def expected(build: Any) -> np.ndarray:
    """The attributions of all rows, by the Explainer alone."""
    built = build(datasets.keras_classifier)
    explainer = Explainer.load(ModelConfig(**built.model), AttributionConfig(**{"steps": STEPS} | built.attribution))
    return explainer.explain({"x": X}, LABELS).attributions["x"]


def attributions(results: list[PredictionResult]) -> np.ndarray:
    """In the order of the rows."""
    by_row = {X.tolist().index(np.asarray(one.example.inputs).tolist()): one.inference for one in results}
    return np.stack([by_row[row].attributions["x"] for row in sorted(by_row)])


def test_every_example_gets_what_the_explainer_gives(handler: Handler, expected: np.ndarray, build: Any) -> None:
    # of one size: between two bounds, Beam chooses by the clock
    result = run(EXAMPLES, RunInference(handler(HandlerOptions(min_batch_size=5, max_batch_size=5))))
    assert all(np.abs(attributions(kept["main"]) - expected).ravel() <= TOLERANCE.ravel())
    assert {one.model_id for one in kept["main"]} == {build(datasets.keras_classifier).model["path"]}
    found = result.metrics().query(MetricsFilter().with_namespace("attribeam"))["distributions"]
    sizes = next(one.committed for one in found if one.key.metric.name == "inference_request_batch_size")
    size_bytes = next(one.committed for one in found if one.key.metric.name == "inference_request_batch_byte_size")
    assert (sizes.sum, sizes.min >= 1, sizes.max) == (len(X), True, 5)
    assert size_bytes.sum == X.nbytes
    totals = counters(result)
    assert totals["num_inferences"] == len(X)
    assert totals["gradients"] == STEPS * len(X)
    assert totals["refused"] == 0


def test_keyed_examples_keep_their_keys_and_keys_as_ids_decide_the_draws(handler: Handler, build: Any) -> None:
    built = build(datasets.keras_classifier)
    config = AttributionConfig(**{"steps": STEPS, "noise": NOISE} | built.attribution)
    alone = Explainer.load(ModelConfig(**built.model), config).explain({"x": X}, LABELS, row_ids=IDS).attributions["x"]
    # noise of σ = 0.5 carries a value at most about 3σ further from 0
    bound = (STEPS + 16) * 2.0**-23 * 3 * (np.abs(X).max() + 3)
    for size in (3, 64):
        drawing = KeyedModelHandler(handler(HandlerOptions(max_batch_size=size), noise=NOISE))
        run(KEYED, RunInference(drawing.with_preprocess_fn(key_as_id)))
        found = dict(kept["main"])
        assert list(found) == IDS
        got = np.stack([found[key].inference.attributions["x"] for key in IDS])
        np.testing.assert_allclose(got, alone, rtol=0, atol=bound)


def test_a_handler_for_each_key(handler: Handler, expected: np.ndarray) -> None:
    first, second = handler(), handler(target=0)
    run(
        [("label", EXAMPLES[0]), ("zero", EXAMPLES[0])],
        RunInference(KeyedModelHandler([KeyModelMapping(["label"], first), KeyModelMapping(["zero"], second)])),
    )
    found = dict(kept["main"])
    assert [found[key].inference.target for key in ("label", "zero")] == [int(LABELS[0]), 0]
    assert all(np.abs(found["label"].inference.attributions["x"] - expected[0]) <= TOLERANCE[0])


def test_one_model_for_all_processes(handler: Handler, expected: np.ndarray) -> None:
    shared = handler(HandlerOptions(large_model=True))
    assert shared.share_model_across_processes()
    run(EXAMPLES, RunInference(shared))
    assert all(np.abs(attributions(kept["main"]) - expected).ravel() <= TOLERANCE.ravel())


BAD = {2: Example(X[2, :3], 1), 7: Example(X[7]), 11: Example(X[11], 99)}
CODES = {2: "E_INPUT_SHAPE", 7: "E_TARGET_LABELS", 11: "E_TARGET_RANGE"}
MIXED = [BAD.get(row, example) for row, example in enumerate(EXAMPLES)]
GOOD = [row for row in range(len(X)) if row not in BAD]


def test_a_faulty_example_of_a_batch_gives_its_fault(handler: Handler, expected: np.ndarray) -> None:
    result = run(MIXED, RunInference(handler(HandlerOptions(min_batch_size=len(MIXED)))))
    faults = [one for one in kept["main"] if isinstance(one.inference, Fault)]
    assert sorted(one.inference.code for one in faults) == sorted(CODES.values())
    others = attributions([one for one in kept["main"] if not isinstance(one.inference, Fault)])
    assert np.all(np.abs(others - expected[GOOD]) <= TOLERANCE[GOOD])
    assert counters(result)["refused"] == len(BAD)


def test_faulty_examples_are_dead_letters_alone_and_the_others_go_on(handler: Handler, expected: np.ndarray) -> None:
    keyed = KeyedModelHandler(handler(HandlerOptions(min_batch_size=len(MIXED)))).with_postprocess_fn(raise_fault)
    run(list(enumerate(MIXED)), RunInference(keyed).with_exception_handling(timeout=300))
    assert "failed_inferences" not in kept
    assert {row: str(error[1]) for (row, _), error in kept["failed_postprocessing"]}.keys() == CODES.keys()
    for (row, _), error in kept["failed_postprocessing"]:
        assert CODES[row] in str(error)
    assert [row for row, _ in kept["main"]] == GOOD
    assert np.all(np.abs(attributions([one for _, one in kept["main"]]) - expected[GOOD]) <= TOLERANCE[GOOD])


def test_without_dead_letters_a_raised_fault_fails_the_pipeline(handler: Handler) -> None:
    with pytest.raises(Exception, match="E_TARGET_LABELS"):
        run(MIXED[6:8], RunInference(handler().with_postprocess_fn(raise_fault)))


class Unreadable:
    """An example that fails when it is looked at, as no fault of an example does."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise OSError("it is gone")


def test_what_is_no_fault_of_an_example_is_a_dead_letter_of_the_batch(handler: Handler) -> None:
    batch = [EXAMPLES[0], Example(Unreadable(), 1)]
    run(batch, RunInference(handler(HandlerOptions(min_batch_size=2))).with_exception_handling())
    ((failed, error),) = kept["failed_inferences"]
    assert len(failed) == 2 and "it is gone" in str(error)
    assert "main" not in kept


def test_resource_hints_are_those_of_the_step(handler: Handler) -> None:
    hinted = handler(HandlerOptions(resource_hints={"accelerator": "type:nvidia-l4;count:1"}))
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | beam.Create(EXAMPLES) | RunInference(hinted)
    components = pipeline.to_runner_api().components
    steps = [
        name.split("/")[-1]
        for name, step in ((one.unique_name, one) for one in components.transforms.values())
        if b"type:nvidia-l4;count:1" in components.environments[step.environment_id].resource_hints.values()
        and not step.subtransforms
    ]
    assert steps
    assert all("RunInference" in name for name in steps), steps


def test_hints_for_batches(handler: Handler) -> None:
    options = HandlerOptions(min_batch_size=4, max_batch_size=9, max_batch_duration_secs=2)
    sizes = {"min_batch_size": 4, "max_batch_size": 9, "max_batch_duration_secs": 2}
    assert handler(options).batch_elements_kwargs() == sizes
    assert handler().batch_elements_kwargs() == {"max_batch_size": 1024}


def test_a_model_that_is_replaced(handler: Handler, build: Any) -> None:
    changed = handler(make=datasets.quadratic)
    changed.update_model_path(build(datasets.linear).model["path"])
    (result,) = changed.run_inference([X[0]], changed.load_model())
    assert result.model_id == build(datasets.linear).model["path"]
    # LINEAR · x: a product a feature, of the sum of STEPS weights
    exact = datasets.LINEAR * X[0]
    assert all(np.abs(result.inference.attributions["x"] - exact) <= (STEPS + 2) * 2.0**-23 * np.abs(exact))


@pytest.mark.parametrize(
    ("attribution", "code"),
    [({"baseline": "mean"}, "E_BASELINE_DATASET"), ({"target": {"function": "os:getcwd"}}, "E_CODE_UNTRUSTED")],
)
def test_what_would_fail_on_every_worker_fails_where_it_is_built(
    handler: Handler, attribution: dict[str, Any], code: str
) -> None:
    with pytest.raises(UsageError) as caught:
        handler(**attribution)
    assert caught.value.code == code


def test_arguments_of_the_inference_are_refused(handler: Handler) -> None:
    with pytest.raises(UsageError, match=r"E_INFERENCE_ARGS.*training"):
        run(EXAMPLES, RunInference(handler(), inference_args={"training": True}))
