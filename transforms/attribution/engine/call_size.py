"""How many gradients a call computes, as far as configuration, method and the model's own batch size decide it."""

from __future__ import annotations

from collections.abc import Sequence

from transforms.attribution.config import AttributionConfig
from transforms.attribution.engine.batching import MAX_POINTS
from transforms.attribution.engine.calls import nodes_in_slot
from transforms.attribution.methods.method import Method
from transforms.attribution.methods.rules import Level
from transforms.errors import UsageError


def check_batch_size(config: AttributionConfig, batch: int | None) -> None:
    """Refuse a batch size that the model does not take.

    Args:
        batch: the only one that it takes, or None for any.

    Raises:
        UsageError: E_BATCH_SIZE.
    """
    if batch and config.batch_size not in ("auto", batch):
        raise UsageError(
            "E_BATCH_SIZE",
            f"attribution.batch_size is {config.batch_size}, but the model takes batches of exactly {batch};"
            " leave it at auto, or export the model with a symbolic batch dimension",
        )


def slot_nodes(config: AttributionConfig, method: Method, levels: Sequence[Level], batch: int | None) -> int:
    """Nodes of a slot.

    Raises:
        UsageError: E_BATCH_SIZE when a call has no room for a slot.
    """
    overlap = method.integrand.overlap
    if batch:
        return nodes_in_slot(levels, batch, True, overlap)
    size = config.batch_size
    return nodes_in_slot(levels, MAX_POINTS if size == "auto" else size, False, overlap)


def whole_slots(points: int, config: AttributionConfig, method: Method, batch: int | None) -> int:
    """Of a call of at most so many points, those that are computed: it holds whole slots."""
    nodes = 1 if method.sequential else slot_nodes(config, method, method.levels, batch)
    return max(1, points // nodes) * nodes if points >= nodes else points


def planned_points(config: AttributionConfig, method: Method, batch: int | None) -> int | None:
    """Gradients computed in one call; None where that is found while working.

    Raises:
        UsageError: E_BATCH_SIZE.
    """
    check_batch_size(config, batch)
    slot_nodes(config, method, method.levels, batch)
    size = batch or config.batch_size
    return None if size == "auto" else whole_slots(size, config, method, batch)
