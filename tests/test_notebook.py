"""The notebook of the examples, in a real kernel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]


def shown() -> Any:
    """Return the notebook as it lies in the examples."""
    return nbformat.read(ROOT / "examples" / "digits.ipynb", as_version=4)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The notebook with what each cell showed, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
        patch.delenv("BENCH_STORE", raising=False)
        notebook = shown()
        client = NotebookClient(notebook, timeout=300, kernel_name="python3")
        client.execute(cwd=str(folder), env=os.environ.copy())
    return notebook, folder


def outputs(notebook: Any, kind: str) -> list[str]:
    """Return what its cells showed, of one MIME type."""
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    return [data[kind] for data in shown if kind in data]


def test_it_shows_a_table_and_pictures(executed: tuple[Any, Path]) -> None:
    notebook, _ = executed
    (table,) = outputs(notebook, "text/html")
    assert "vampprior" in table
    assert len(outputs(notebook, "image/png")) == 4
    assert not [o for cell in notebook.cells for o in cell.get("outputs", []) if o.get("name") == "stderr"]


def test_its_progress_is_one_output_that_ends_with_every_cell(executed: tuple[Any, Path]) -> None:
    notebook, _ = executed
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    (progress,) = [o["data"]["text/plain"] for o in first.outputs if o.output_type == "display_data"]
    assert sum(line.startswith("ok ") for line in progress.splitlines()) == 4
    assert "4 of 4 cells" in progress


def test_worker_processes_leave_the_notebook_alone(executed: tuple[Any, Path]) -> None:
    _, folder = executed
    assert len(list(folder.glob("runs/digits/cells/*/record-*.json"))) == 4
    assert sorted(path.name for path in folder.iterdir()) == ["ipython", "runs"]


def test_it_is_kept_without_outputs() -> None:
    notebook = shown()
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
