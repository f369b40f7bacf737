"""Findings of the tables that an audit makes: the same as of those computed plainly from the rows."""

from __future__ import annotations

import audited
import numpy as np
import pyarrow as pa
import pytest
import whole_audits
from synthetic_parts import columns_of, part

from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.findings.ranking import findings

ROWS, SHAPES = 400, {"image": (8, 8, 1), "table": (6,)}


def test_an_audit_and_a_plain_computation_give_the_same_findings() -> None:
    draw = np.random.default_rng(3)
    label, site = draw.integers(0, 6, ROWS), draw.choice(["north", "south"], ROWS)
    maps = {name: draw.normal(size=(ROWS, *shape)).astype(np.float32) for name, shape in SHAPES.items()}
    maps["image"][label == 4, :2, 6:] *= 40
    maps["table"][:, 2] += np.where(site == "north", 60, -60)
    status, files = np.array(["unconverged"] * 60 + ["ok"] * (ROWS - 60)), draw.choice(["a", "b"], ROWS)
    carried = {"label": pa.array(label), "site": pa.array(site)}
    drawn = {"predicted": (label + (draw.random(ROWS) < 0.3)) % 6, "status": status, "source_file": files}
    rows = part(maps, columns_of(SHAPES), carried, **drawn)
    made = whole_audits.audited(rows)

    right = np.where(drawn["predicted"] == label, "right", "wrong")
    slices = {
        "label": [str(one) for one in label],
        "label,correct": [f"{one},{hit}" for one, hit in zip(label, right, strict=True)],
        "source_file": list(files),
        "keep:site": list(site),
    }
    doubles = {name: values.astype(np.float64) for name, values in maps.items()}
    plain = audited.audit(audited.Maps(slices, doubles, status=status))
    found, wanted = (findings(AuditTables(tables.tables, {})) for tables in (made, plain))

    assert {"image_cue", "dominant_feature", "opposite_use", "unconverged_rows"} <= {one.kind for one in found}
    assert [(one.id, one.severity, one.rows) for one in found] == [(one.id, one.severity, one.rows) for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        # both sum the same float32 values in float64
        assert one.interval == pytest.approx(other.interval, abs=1e-9)
        assert one.evidence == pytest.approx(other.evidence, abs=1e-9)
