"""The notebooks are valid, hold no outputs, and their cells run from top to bottom."""

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

EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "examples"


def read(name: str) -> Any:
    return nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.ipynb")))
def test_it_is_valid_and_clean(name: str) -> None:
    book = read(name)
    nbformat.validate(book)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    assert cells
    assert not [cell for cell in cells if cell.outputs or cell.execution_count]


@pytest.fixture
def executed(request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The names that a notebook leaves, and what it printed; in this process: what a cell shows last, and a kernel of
    its own, are Jupyter's."""
    matplotlib.use("Agg")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    scope: dict[str, Any] = {"__name__": "__main__"}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for number, cell in enumerate(read(request.param).cells):
            if cell.cell_type == "code":
                exec(compile(cell.source, f"{request.param} {number}", "exec"), scope)
    assert plt.get_fignums()
    plt.close("all")
    return scope, printed.getvalue()


@pytest.mark.parametrize("executed", ["notebook"], indirect=True)
def test_the_pipelines_of_ones_own(executed: Any) -> None:
    scope, printed = executed
    inferences, rows = scope["inferences"].set_index("name"), scope["rows"]
    assert inferences.loc["cropped", "status"] == "E_INPUT_SHAPE"
    assert len(inferences) == 11
    explained = inferences.drop("cropped")
    assert set(explained["status"]) == {"ok"}
    assert "refused: digit-0: E_FEATURE_MISSING" in printed
    assert len(rows) == 99
    # both explain the digits -99 to -91: in the table they are digit-1 to digit-9
    same = rows.set_index("row_id").loc[[f"digit-{row}" for row in range(1, 10)]]
    other = explained.loc[[f"digit-{row}" for row in range(-99, -90)]]
    assert same["target"].tolist() == other["target"].tolist()
    assert same["steps"].tolist() == other["steps"].tolist()


@pytest.mark.parametrize("executed", ["audit"], indirect=True)
def test_reading_an_audit(executed: Any) -> None:
    """The planted column is found first, its row shown, and the comparison says that the second model leaves it."""
    scope, printed = executed
    findings, moved = scope["findings"], scope["moved"]
    assert findings.loc[0, "kind"] == "label_leak" and "'ward'" in findings.loc[0, "title"]
    assert scope["whole"].index[-1] == "ward"
    assert "label_leak" not in {finding["kind"] for finding in scope["second"].tables.about["findings"]}
    assert moved.index[0] == "ward" and moved.loc["ward", "drifted"]
    assert scope["compared"].drift > 0.05  # the gate that the text names
    assert str(scope["atypical"]["row_id"]) in printed
    # a row for each group, and its share adds up to one
    assert len(scope["whole"]) == 11
    assert scope["whole"]["share_mean"].sum() == pytest.approx(1, rel=1e-9)
