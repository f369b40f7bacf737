"""TensorFlow Model Analysis itself reads what `attribeam export-tfma` writes.

It wants other packages than ours (pandas < 3, absl < 2), so it has an environment of its own. `pip install
tensorflow-model-analysis==0.52.0` may resolve there for more than a quarter of an hour; installed with `--no-deps` and
what its import asks for, beside TensorFlow 2.21 and Beam 2.77, it loads as well. Then

    ATTRIBEAM_TFMA_PYTHON=/tmp/tfma/bin/python pytest -m campaign tests/campaigns/tfma.py
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from typing import Any

import audits
import pytest

from pipeline.tfma_export import export_tfma
from transforms.storage.place import open_place

PYTHON = "ATTRIBEAM_TFMA_PYTHON"
# What TFMA gives of a directory, as JSON: slices as lists of pairs
PROGRAM = """
import json, sys
import tensorflow_model_analysis as tfma

result = tfma.load_eval_result(sys.argv[1])


def plain(sliced):
    return [[list(map(list, key)), values] for key, values in sliced]


specs = [list(spec.feature_keys) for spec in result.config.slicing_specs]
found = {"metrics": plain(result.slicing_metrics), "plots": plain(result.plots), "specs": specs}
found["attributions"] = plain(result.attributions)
found["means"] = result.get_attributions_for_slice(metric_name="mean_attributions")
found["names"] = sorted(result.get_metric_names())
found["model"] = result.model_location
found["rendered"] = str(type(tfma.view.render_slicing_attributions(result, metric_name="mean_attributions")))
print("found:" + json.dumps(found))
"""
MAKERS = (audits.images, audits.table, audits.text, audits.hostile)


@pytest.fixture(scope="module")
def python() -> str:
    found = os.environ.get(PYTHON)
    if not found:
        pytest.skip(f"{PYTHON} names no Python that has tensorflow-model-analysis")
    return found


def read_by_tfma(python: str, folder: pathlib.Path) -> dict[str, Any]:
    ran = subprocess.run([python, "-c", PROGRAM, str(folder)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-4000:]
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("found:")]
    return dict(json.loads(line.removeprefix("found:")))


def key(row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """A row's slice, as TFMA names it."""
    if row["slice"] == "label,correct":
        label, correct = row["value"].rsplit(",", 1)
        return (("label", label), ("correct", correct))
    return () if row["slice"] == "all" else ((row["slice"], row["value"]),)


@pytest.mark.campaign
@pytest.mark.parametrize("make", MAKERS)
def test_tfma_reads_the_numbers_of_the_tables(python: str, make: Any, tmp_path: pathlib.Path) -> None:
    audit, _ = make()
    audit.write(open_place(str(tmp_path / "out")))
    export_tfma(str(tmp_path / "out"), str(tmp_path / "tfma"))
    found = read_by_tfma(python, tmp_path / "tfma")
    metrics, attributions = (
        {tuple(map(tuple, one)): values[""][""] for one, values in found[kind]} for kind in ("metrics", "attributions")
    )
    slices = audit["slices"].to_pylist()
    assert metrics.keys() == attributions.keys() == {key(row) for row in slices}
    for row in slices:
        own = {name: value["doubleValue"] for name, value in metrics[key(row)].items()}
        assert own["example_count"] == row["rows"]
        assert all(own[name] == row[name] for name in ("ok", "unconverged", "relative_delta_p95", "steps_mean"))
    whole = audit["tokens"] if len(audit["tokens"]) else audit["features"]
    for row in whole.to_pylist():
        name = row["token"] if "token" in row else row["position"] if row["name"] is None else row["name"]
        own = attributions[key(row)]
        if row.get("name") != "":  # two features of the hostile audit have no name
            assert own["mean_attributions"][f"{row['input']}/{name}"] == {"doubleValue": row["mean"]}
            assert own["mean_absolute_attributions"][f"{row['input']}/{name}"] == {"doubleValue": row["mean_abs"]}
    assert found["means"] == attributions[()]["mean_attributions"]
    assert {"example_count", "accuracy"} <= set(found["names"])
    assert [] in found["specs"] and ["label", "correct"] in found["specs"]
    assert "SlicingMetricsViewer" in found["rendered"]
    rows = sum(
        entry["numWeightedExamples"]
        for _, plot in found["plots"]
        for entry in plot[""][""]["multiClassConfusionMatrixAtThresholds"]["matrices"][0]["entries"]
    )
    assert rows == (sum(audit["confusion"]["rows"].to_pylist()) if found["plots"] else 0)
    assert bool(found["plots"]) == (make in (audits.images, audits.hostile))
