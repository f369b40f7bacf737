"""Models wherever they stand: one in an object store is copied to this machine while it is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.errors import StoreError, UsageError
from transforms.storage.staging import staged

if TYPE_CHECKING:
    from transforms.attribution.explainer import Explainer


@contextlib.contextmanager
def local_model(config: ModelConfig) -> Iterator[ModelConfig]:
    """The same model on this machine, for as long as the context; an error raised within names where it came from.

    Raises:
        UsageError: E_MODEL_MISSING, E_STORE_URL, E_STORE_SECRET, E_SCRATCH_FULL.
        StoreError: as the methods of `Bucket`.
    """
    with contextlib.ExitStack() as copies:
        try:
            path = copies.enter_context(staged(config.path))
        except StoreError as error:
            if error.code != "E_STORE_MISSING":
                raise
            raise UsageError("E_MODEL_MISSING", f"there is no model at {config.path}; set model.path") from error
        try:
            yield config.model_copy(update={"path": path})
        except UsageError as error:
            if path == config.path:
                raise
            raise UsageError(error.code, error.message.replace(path, config.path)) from error


def load_explainer(model: ModelConfig, config: AttributionConfig, trusted: Collection[str] = ()) -> Explainer:
    """`Explainer.load`, wherever the model stands."""
    from transforms.attribution.explainer import Explainer

    with local_model(model) as local:
        return Explainer.load(local, config, trusted)
