"""A model and a configuration brought together: what of the output is explained becomes the model's last stage."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from transforms.attribution import targets
from transforms.attribution.config import AttributionConfig
from transforms.attribution.model.model import Model
from transforms.attribution.model.objective import Objective, Output, objective_of


def aim(model: Model, config: AttributionConfig, trusted: Collection[str]) -> tuple[Model, AttributionConfig]:
    """The model with the configured objective as its last stage, and the configuration without names of classes.

    Args:
        trusted: modules of the user's that may be imported.

    Raises:
        UsageError: E_TARGET_*, E_MODEL_OUTPUT_SHAPE, E_CODE_*.
    """
    aimed = by_index(config, model.output.names)
    return model.aimed_at(checked_objective(aimed, model.output, trusted)), aimed


def by_index(config: AttributionConfig, names: Sequence[str]) -> AttributionConfig:
    """The configuration without names of classes.

    Raises:
        UsageError: E_TARGET_NAME.
    """
    return config.model_copy(update={"target": targets.by_index(config.target, names)})


def checked_objective(config: AttributionConfig, output: Output, trusted: Collection[str]) -> Objective:
    """What a configuration without names explains of an output.

    Raises:
        UsageError: E_TARGET_*, E_MODEL_OUTPUT_SHAPE, E_CODE_*.
    """
    objective = objective_of(config.target, output, trusted)
    targets.check_target(config.entry, objective.classes)
    return objective
