"""From what the user says about the rows to what is taken of each: checked against the model that they are fed to."""

from __future__ import annotations

from collections.abc import Sequence

from transforms.attribution.baselines import given as baselines
from transforms.attribution.config import AttributionConfig
from transforms.attribution.model.model_input import Described, ModelInput
from transforms.errors import UsageError
from transforms.records import part
from transforms.records.columns import ATTRIBUTION, AttributionColumns
from transforms.records.config import ExamplesConfig
from transforms.records.examples import Layout
from transforms.records.feature import MAX_LENGTH, Feature, resolve


def layout_of(
    source: ExamplesConfig, attribution: AttributionConfig, model: Described, longest: int = MAX_LENGTH
) -> Layout:
    """What is taken of every row, but for the types of the carried columns; without the columns of baselines where it
    is not known what is explained.

    Args:
        longest: steps that a row may have, where their number varies.

    Raises:
        UsageError: E_FEATURE_INPUTS, E_TARGET_LABELS, and what `resolve` and `baselines.columns` raise.
    """
    named = {spec.name: spec for spec in model.sources}
    if set(source.features) != set(named):
        raise UsageError(
            "E_FEATURE_INPUTS",
            f"input.features names {sorted(source.features)}, but the model's inputs are {sorted(named)}; name each",
        )
    if attribution.entry == "label" and source.label is None:
        raise UsageError("E_TARGET_LABELS", "attribution.target is label, but input.label names no column; name it")

    def feature(spec: ModelInput, column: str | None = None) -> Feature:
        config = source.features[spec.name]
        if column is not None:
            config = config.model_copy(update={"column": column})
        return resolve(spec.name, config, spec.shape, spec.dtype.name, longest)

    by_column = baselines.columns(attribution, model.explained or ())
    return Layout(
        inputs=tuple(feature(spec) for spec in model.sources),
        baselines=tuple(feature(named[name], column) for name, column in by_column.items()),
        id=source.id,
        label=source.label,
        target_is_label=attribution.entry == "label",
        classes=model.names,
    )


def carried_names(source: ExamplesConfig) -> list[str]:
    """The output columns that are carried along: the label, and what is kept."""
    return [*(["label"] if source.label else []), *source.keep]


def check_kept(source: ExamplesConfig, attributions: Sequence[AttributionColumns]) -> None:
    """Refuse a kept column that has the name of another column of the output.

    Raises:
        UsageError: E_KEEP_NAME.
    """
    written = {"label", *part.FIXED, *(field.name for columns in attributions for field in columns.fields())}
    taken = [name for name in source.keep if name in written or name.startswith(ATTRIBUTION)]
    if taken:
        raise UsageError("E_KEEP_NAME", f"input.keep names {taken}, which are columns of the output; rename them")
