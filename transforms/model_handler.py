"""`IntegratedGradientsHandler`: the Explainer of the job as a handler for RunInference, in anyone's pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from transforms.attribution.baselines.references import References
from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.explainer import Explainer
from transforms.counters import NAMESPACE, count
from transforms.errors import AttribeamError, Fault, UsageError
from transforms.explaining.example_explainer import ExampleExplainer
from transforms.explaining.explained import MAX_CHUNK_ROWS
from transforms.explaining.prerequisites import check_prerequisites
from transforms.loose_examples import Example, Inference, example_bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class HandlerOptions:
    """What RunInference asks of a handler, in Beam's words.

    Attributes:
        min_batch_size, max_batch_size: examples explained together, at least and at most.
        max_batch_duration_secs: how long a streaming pipeline waits for a batch to fill.
        large_model: one copy of the model for all worker processes of a machine.
        model_copies: so many copies of it.
        resource_hints: of the step that explains, such as `{"accelerator": "type:nvidia-l4;count:1"}`.
    """

    min_batch_size: int | None = None
    max_batch_size: int | None = MAX_CHUNK_ROWS
    max_batch_duration_secs: int | None = None
    large_model: bool = False
    model_copies: int | None = None
    resource_hints: Mapping[str, str] = dataclasses.field(default_factory=dict)


class IntegratedGradientsHandler(ModelHandler[Any, PredictionResult, ExampleExplainer]):  # type: ignore[misc]
    """Explains the examples of a PCollection with RunInference, by any method of the configuration.

    An element is an array (of a model with one input), a mapping from inputs to arrays, or an `Example`; in a
    KeyedModelHandler, a pair of a key and one of these. The `inference` of its PredictionResult is an `Attribution`
    (with `{top_k: k}` a tuple of k), or the `Fault` of an example that cannot be explained: the others of its batch go
    on.

    Args:
        trusted: modules of the user's that the configuration may name functions of.
        references: what baselines take of a dataset, where they do.

    Raises:
        UsageError: E_CODE_*, E_BASELINE_DATASET.
    """

    def __init__(
        self,
        model: ModelConfig,
        attribution: AttributionConfig,
        options: HandlerOptions | None = None,
        trusted: Collection[str] = (),
        references: References | None = None,
    ) -> None:
        check_prerequisites(attribution, trusted, references)
        options = options or HandlerOptions()
        super().__init__(
            min_batch_size=options.min_batch_size,
            max_batch_size=options.max_batch_size,
            max_batch_duration_secs=options.max_batch_duration_secs,
            large_model=options.large_model,
            model_copies=options.model_copies,
        )
        self._model, self._attribution, self._options = model, attribution, options
        self._trusted, self._references = tuple(trusted), references

    def load_model(self) -> ExampleExplainer:
        """The model, ready to be explained; raises what `Explainer.load` raises."""
        return ExampleExplainer(Explainer.load(self._model, self._attribution, self._trusted, self._references))

    def run_inference(
        self, batch: Sequence[Any], model: ExampleExplainer, inference_args: Mapping[str, Any] | None = None
    ) -> Iterator[PredictionResult]:
        """A PredictionResult for each example, in their order."""
        found = model.explain(list(batch))
        count(gradients=sum(map(_spent, found)), refused=sum(isinstance(one, Fault) for one in found))
        return (PredictionResult(*pair, self._model.path) for pair in zip(batch, found, strict=True))

    def validate_inference_args(self, inference_args: Mapping[str, Any] | None) -> None:
        """Refuse arguments: all that is to be said stands in the configuration.

        Raises:
            UsageError: E_INFERENCE_ARGS.
        """
        if inference_args:
            raise UsageError(
                "E_INFERENCE_ARGS",
                f"RunInference was given the inference_args {sorted(inference_args)}, but the handler takes none;"
                " say it in its AttributionConfig",
            )

    def update_model_path(self, model_path: str | None = None) -> None:
        """The model that is loaded from now on: of `watch_model_pattern`, say."""
        self._model = self._model.model_copy(update={"path": model_path or self._model.path})

    def get_num_bytes(self, batch: Sequence[Any]) -> int:
        """Bytes of the examples' inputs and baselines."""
        return sum(map(example_bytes, batch))

    def get_metrics_namespace(self) -> str:
        """Of RunInference's metrics, beside which the handler counts `gradients` and `refused` examples."""
        return NAMESPACE

    def get_resource_hints(self) -> dict[str, str]:
        """Of the options."""
        return dict(self._options.resource_hints)


def key_as_id(keyed: tuple[Any, Any]) -> tuple[Any, Example]:
    """(key, example) with the key as the example's id, which decides what is drawn for it: as the job draws for a row.

    For `KeyedModelHandler(...).with_preprocess_fn(key_as_id)`: Beam does not tell a handler the keys.
    """
    key, example = keyed
    example = example if isinstance(example, Example) else Example(example)
    return key, dataclasses.replace(example, row_id=str(key))


def raise_fault(result: Any) -> Any:
    """A result, keyed or not, as it is, unless it is a fault.

    For `with_postprocess_fn(raise_fault)`: a faulty example fails the pipeline, as with other handlers, or is, alone,
    among the `failed_postprocessing` of `RunInference(...).with_exception_handling()`.

    Raises:
        AttribeamError: the fault.
    """
    inference = (result if isinstance(result, PredictionResult) else result[1]).inference
    if isinstance(inference, Fault):
        raise AttribeamError(inference.code, inference.message)
    return result


def _spent(inference: Inference) -> int:
    each = inference if isinstance(inference, tuple) else (inference,)
    return sum(one.steps for one in each if not isinstance(one, Fault))
