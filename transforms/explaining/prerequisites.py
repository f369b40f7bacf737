"""What a configuration wants beside itself: leave to run a user's functions, and what baselines take of a dataset."""

from __future__ import annotations

from collections.abc import Collection

from transforms.attribution.baseline_config import dataset_kind, draws
from transforms.attribution.baselines.references import References
from transforms.attribution.config import AttributionConfig
from transforms.attribution.model.user_code import load_function
from transforms.errors import UsageError


def check_prerequisites(
    attribution: AttributionConfig, trusted: Collection[str], references: References | None
) -> None:
    """Refuse, where a pipeline is built, what would fail on each of its workers.

    Raises:
        UsageError: E_CODE_REFERENCE, E_CODE_UNTRUSTED, E_CODE_MISSING, E_BASELINE_DATASET.
    """
    for reference in attribution.code:
        load_function(reference, trusted)
    wanted = [one for baseline in attribution.baseline.values() for one, _ in draws(baseline) if dataset_kind(one)]
    if wanted and references is None:
        raise UsageError(
            "E_BASELINE_DATASET",
            f"the baseline is {dataset_kind(wanted[0])} of a dataset, which a pipeline of your own does not pass over"
            " first; hand over `references`, from `references_of_rows`, say",
        )
