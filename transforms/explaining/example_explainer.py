"""Examples that come one by one: explained together, and what each of them got given back on its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution import targets
from transforms.attribution.baselines.given import given_baseline
from transforms.attribution.batch import Batch, by_name, check_inputs
from transforms.attribution.explainer import Explainer
from transforms.attribution.explanation import Explanation
from transforms.errors import Fault, UsageError, quoted
from transforms.loose_examples import Attribution, Example, Inference

Values = npt.NDArray[Any]
# faults that examples have in common where their shapes, and the baselines they come with, are alike
OF_ALIKE = ("E_BASELINE_SHAPE", "E_BASELINE_MISSING")


class ExampleExplainer:
    """An Explainer of single examples; it may live in another process, for `explain` takes and gives plain values."""

    def __init__(self, explainer: Explainer) -> None:
        self._explainer = explainer

    def explain(self, examples: Sequence[Any]) -> list[Inference]:
        """What is found out about each example, in their order.

        Those of one shape are explained together; one that does not fit the model costs the others nothing.

        Args:
            examples: of each the inputs, or an `Example`.

        Raises:
            UsageError: what is no fault of an example: E_BASELINE_DATASET.
        """
        found, groups = dict[int, Inference](), dict[object, list[tuple[int, Batch]]]()
        for place, example in enumerate(examples):
            try:
                batch = self._checked(example if isinstance(example, Example) else Example(example))
                groups.setdefault(_kind(batch), []).append((place, batch))
            except UsageError as error:
                found[place] = Fault(error.code, error.message)
        for group in groups.values():
            places, batches = zip(*group, strict=True)
            found |= zip(places, self._explained(_together(batches)), strict=True)
        return [found[place] for place in range(len(examples))]

    def _checked(self, example: Example) -> Batch:
        """One example as a batch of its own.

        Raises:
            UsageError: E_INPUT_*, E_TARGET_*, E_BASELINE_SHAPE, E_BASELINE_DTYPE.
        """
        model = self._explainer.model
        inputs = _arrays(by_name(example.inputs, model.sources))
        check_inputs(inputs, model.sources)
        row_id = _digest(inputs) if example.row_id is None else example.row_id
        return Batch(inputs, self._labels(example), self._baselines(example, inputs), row_ids=[row_id])

    def _labels(self, example: Example) -> npt.NDArray[np.int64] | None:
        if self._explainer.config.entry != "label":
            return None
        if example.label is None:
            raise UsageError("E_TARGET_LABELS", "attribution.target is label, but the example has none; give its label")
        model = self._explainer.model
        labels = targets.given_labels(example.label, 1, model.output.names)
        for fault in targets.label_faults(labels, model.classes).values():
            raise UsageError(fault.code, fault.message)
        return labels

    def _baselines(self, example: Example, inputs: Mapping[str, Values]) -> dict[str, Values]:
        if example.baselines is None:
            return {}
        model = self._explainer.model
        given = _arrays(by_name(example.baselines, model.explained))
        shapes = self._explainer.explained_shapes([inputs[spec.name].shape[1:] for spec in model.sources])
        return {
            spec.name: given_baseline(given[spec.name], spec, 1, shapes[spec.name])
            for spec in model.explained
            if spec.name in given
        }

    def _explained(self, batch: Batch) -> list[Inference]:
        """Of each row of a batch."""
        try:
            (explanation,) = self._explainer.stream([batch])
        except UsageError as error:
            if error.code not in OF_ALIKE:
                raise
            return [Fault(error.code, error.message)] * len(batch)
        entries = dict[int, list[Attribution]]()
        for at, row in enumerate(explanation.rows.tolist()):
            entries.setdefault(row, []).append(_entry(explanation, at))
        ranked = self._explainer.config.ranked
        found: dict[int, Inference] = {row: tuple(each) if ranked else each[0] for row, each in entries.items()}
        found |= explanation.faults
        return [found[row] for row in range(len(batch))]


def _arrays(values: Mapping[str, Any]) -> dict[str, Values]:
    """Each as a batch of one row, [1, *shape].

    Raises:
        UsageError: E_INPUT_SHAPE for what is no array.
    """
    found = {}
    for name, value in values.items():
        try:
            found[name] = np.asarray(value)[np.newaxis]
        except (TypeError, ValueError) as error:
            what = f"{name!r} of the example is {quoted(value)}, which is no array: {str(error)[:100]}"
            raise UsageError("E_INPUT_SHAPE", f"{what}; give numbers in lists of the same length") from error
    return found


def _digest(inputs: Mapping[str, Values]) -> str:
    """The id of an example without one: examples are the same where their inputs are, in any batch and any order."""
    digest = hashlib.sha256()
    for name in sorted(inputs):
        digest.update(f"{name}/{inputs[name].dtype.str}/{inputs[name].shape}/".encode())
        digest.update(np.ascontiguousarray(inputs[name]).data)
    return digest.hexdigest()


def _kind(batch: Batch) -> object:
    """What is the same for all that can be explained together."""
    parts = (batch.inputs, batch.baselines)
    return tuple(tuple((name, part[name].dtype.str, part[name].shape) for name in sorted(part)) for part in parts)


def _together(batches: Sequence[Batch]) -> Batch:
    first = batches[0]
    return Batch(
        {name: np.concatenate([batch.inputs[name] for batch in batches]) for name in first.inputs},
        None
        if first.labels is None
        else np.concatenate([batch.labels for batch in batches if batch.labels is not None]),
        {name: np.concatenate([batch.baselines[name] for batch in batches]) for name in first.baselines},
        row_ids=[row_id for batch in batches for row_id in batch.row_ids or ()],
    )


def _entry(explanation: Explanation, at: int) -> Attribution:
    def number(values: Values | None) -> Any:
        return None if values is None else values[at].item()

    return Attribution(
        {name: values[at] for name, values in explanation.attributions.items()},
        target=number(explanation.target),
        target_rank=number(explanation.target_rank),
        predicted=number(explanation.predicted),
        output=number(explanation.output),
        baseline_output=number(explanation.baseline_output),
        delta=number(explanation.delta),
        relative_delta=number(explanation.relative_delta),
        error_estimate=number(explanation.error_estimate),
        steps=number(explanation.steps),
        blind_share=number(explanation.blind_share),
        baseline_spread=number(explanation.baseline_spread),
        status=number(explanation.status),
    )
