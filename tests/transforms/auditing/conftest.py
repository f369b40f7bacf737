"""Rows to audit: an image and a table explained together, with a label, a prediction and what was kept."""

import numpy as np
import pyarrow as pa
import pytest
from synthetic_parts import columns_of, part

ROWS = 300
SHAPES = {"image": (9, 8, 2), "table": (4,)}


@pytest.fixture(scope="session")
def rows() -> pa.Table:
    """With rows of no numbers, rows of zeros, nulls, ties and two rows of one name."""
    draw = np.random.default_rng(5)
    # sizes over many octaves, and a mean that is large beside the spread in one position
    maps = {
        name: (draw.normal(size=(ROWS, *shape)) * 2.0 ** draw.uniform(-12, 0, (ROWS, *shape))).astype(np.float32)
        for name, shape in SHAPES.items()
    }
    maps["table"][:, 2] = 1000 + maps["table"][:, 2]
    maps["image"][7] = maps["table"][7] = 0
    maps["table"][8:12] = 1
    maps["image"][20] = np.nan
    label = draw.integers(0, 3, ROWS)
    predicted = [None if row == 3 else int(one) for row, one in enumerate((label + (draw.random(ROWS) < 0.3)) % 3)]
    status = draw.choice(["ok", "unconverged"], ROWS, p=[0.7, 0.3])
    status[20] = "nonfinite"
    output = draw.normal(size=ROWS)
    output[20] = np.nan
    carried = {
        "label": pa.array([None if row == 5 else int(one) for row, one in enumerate(label)], pa.int64()),
        "site": pa.array(draw.choice(["north", "south"], ROWS)),
        "night": pa.array(draw.random(ROWS) < 0.5),
        "age": pa.array(draw.random(ROWS)),
    }
    names = [f"row {row if row != 77 else 76}" for row in range(ROWS)]
    found = part(
        maps,
        columns_of(SHAPES),
        carried,
        seed=6,
        row_id=names,
        predicted=predicted,
        status=status,
        output=output,
        target=np.zeros(ROWS, int),
        error_estimate=[None if row % 9 == 0 else 0.01 * (row % 5) for row in range(ROWS)],
    )
    later = np.arange(ROWS) >= 200
    files = pa.array(np.where(later, "b.parquet", "a.parquet"))
    return found.set_column(found.schema.get_field_index("source_file"), "source_file", files)
