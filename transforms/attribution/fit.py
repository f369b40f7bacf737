"""Whether a configuration fits a model of which only the files were read."""

from __future__ import annotations

from collections.abc import Collection

from transforms.attribution.baselines.given import check_baselines
from transforms.attribution.baselines.max_entropy import check_search
from transforms.attribution.config import AttributionConfig
from transforms.attribution.engine.call_size import planned_points
from transforms.attribution.methods import without_code
from transforms.attribution.model.aiming import by_index, checked_objective
from transforms.attribution.model.outline import ModelOutline
from transforms.attribution.model.user_code import load_function
from transforms.attribution.target_config import ScalarFunction


def check_fit(outline: ModelOutline, config: AttributionConfig, trusted: Collection[str]) -> None:
    """Refuse what `Explainer` would refuse, as far as the model's files tell; a user's function is not called.

    Args:
        trusted: modules of the user's that may be imported.

    Raises:
        UsageError: E_TARGET_*, E_BASELINE_*, E_BATCH_SIZE, E_MODEL_OUTPUT_SHAPE, E_CODE_*.
    """
    for reference in config.code:
        load_function(reference, trusted)
    aimed = by_index(config, outline.names)
    if outline.whole_output and not isinstance(aimed.target, ScalarFunction):
        checked_objective(aimed, outline.whole_output, trusted)
    if outline.explained is not None:
        check_baselines(aimed, outline.explained, outline.layered)
        check_search(aimed, outline.explained, outline.held or ())
    planned_points(aimed, without_code(aimed), outline.batch)
