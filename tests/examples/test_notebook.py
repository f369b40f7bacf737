"""The notebook is valid, holds no outputs, and its cells run from top to bottom."""

from __future__ import annotations

import contextlib
import io
import pathlib
import tempfile
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import nbformat
import pytest

NOTEBOOK = pathlib.Path(__file__).parent.parent.parent / "examples/notebook.ipynb"


@pytest.fixture(scope="module")
def book() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_valid_and_clean(book: Any) -> None:
    nbformat.validate(book)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    assert cells
    assert not [cell for cell in cells if cell.outputs or cell.execution_count]


def test_its_cells_run(book: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: what a cell shows last, and a kernel of its own, are Jupyter's."""
    matplotlib.use("Agg")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    scope: dict[str, Any] = {"__name__": "__main__"}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for number, cell in enumerate(book.cells):
            if cell.cell_type == "code":
                exec(compile(cell.source, f"cell {number}", "exec"), scope)
    inferences, rows = scope["inferences"].set_index("name"), scope["rows"]
    assert inferences.loc["cropped", "status"] == "E_INPUT_SHAPE"
    assert len(inferences) == 11
    explained = inferences.drop("cropped")
    assert set(explained["status"]) == {"ok"}
    assert "refused: digit-0: E_FEATURE_MISSING" in printed.getvalue()
    assert len(rows) == 99
    # both explain the digits -99 to -91: in the table they are digit-1 to digit-9
    same = rows.set_index("row_id").loc[[f"digit-{row}" for row in range(1, 10)]]
    other = explained.loc[[f"digit-{row}" for row in range(-99, -90)]]
    assert same["target"].tolist() == other["target"].tolist()
    assert same["steps"].tolist() == other["steps"].tolist()
    assert plt.get_fignums()
    plt.close("all")
