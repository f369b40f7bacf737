"""Whole runs with noise, several baselines and other methods: what the Explainer gives, whatever the shards."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pytest
from datasets import attributions, launch, read

from transforms.attribution.explainer import Explainer
from transforms.errors import UsageError
from transforms.runs.verify import verify_run
from transforms.storage.manifest import MANIFEST, read_json
from transforms.storage.place import open_place

NOISE = {"kind": "smoothgrad", "draws": 3, "sigma": 0.2}
RUNS = {
    "noise": {"noise": NOISE},
    "baselines": {"baseline": ["zeros", {"uniform": [0, 1], "draws": 2}, {"blur": 1.0}]},
    "vargrad": {"noise": NOISE | {"kind": "vargrad"}, "method": "saliency"},
    "smooth_taylor": {"method": "smooth_taylor", "baseline": {"gaussian": 0.2, "draws": 4}},
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_draws_what_a_notebook_does_whatever_its_shards(job_of: Any, name: str) -> None:
    fields, source = RUNS[name], {"id": "name"}
    small = job_of(datasets.keras_classifier, attribution=fields, input=source, output={"shard_bytes": 500})
    whole = job_of(datasets.keras_classifier, out="whole", attribution=fields, input=source)
    tables = [read(launch(job).root).sort_by("row_id") for job in (small, whole)]
    rows = datasets.rows()
    order = np.argsort(rows["name"])
    explainer = Explainer.load(small.model, small.attribution)
    direct = explainer.explain(
        rows["pixels"][order],
        target=rows["label"][order],
        row_ids=[str(rows["name"][row]) for row in order],
    )
    for table in tables:
        assert table["row_id"].to_pylist() == [str(rows["name"][row]) for row in order]
        wanted = direct.attributions[explainer.model.explained[0].name]
        found = attributions(table).reshape(wanted.shape)
        np.testing.assert_allclose(found, wanted, atol=2e-6 * np.abs(wanted).max())
        assert table["steps"].to_pylist() == direct.steps.tolist()
        np.testing.assert_allclose(table["blind_share"], direct.blind_share, atol=1e-6)
        assert table["baseline_spread"].null_count == (0 if direct.baseline_spread is not None else datasets.ROWS)
    place = open_place(small.output.path)
    assert not verify_run(place, deep=True)
    assert read_json(place, MANIFEST)["complete"] is (name in ("noise", "baselines"))


def test_several_columns_for_one_input_are_refused(job_of: Any) -> None:
    both = [{"column": "name"}, {"column": "label"}]
    with pytest.raises(UsageError, match=r"E_BASELINE_INPUT.*\['label', 'name'\]"):
        launch(job_of(datasets.keras_classifier, attribution={"baseline": both}))
