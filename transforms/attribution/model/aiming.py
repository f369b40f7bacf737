"""A model and a configuration brought together: what of the output is explained becomes the model's last stage."""

from __future__ import annotations

from collections.abc import Collection

from transforms.attribution import targets
from transforms.attribution.config import AttributionConfig
from transforms.attribution.model.model import Model
from transforms.attribution.model.objective import objective_of


def aim(model: Model, config: AttributionConfig, trusted: Collection[str]) -> tuple[Model, AttributionConfig]:
    """The model with the configured objective as its last stage, and the configuration without names of classes.

    Args:
        trusted: modules of the user's that may be imported.

    Raises:
        UsageError: E_TARGET_*, E_MODEL_OUTPUT_SHAPE, E_CODE_*.
    """
    target = targets.by_index(config.target, model.output.names)
    aimed = config.model_copy(update={"target": target})
    objective = objective_of(target, model.output, trusted)
    targets.check_target(aimed.entry, objective.classes)
    return model.aimed_at(objective), aimed
