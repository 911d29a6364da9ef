"""The notebook runs in a real kernel, and makes what it says."""

from __future__ import annotations

import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "digits.ipynb"


@pytest.mark.filterwarnings("ignore")  # of Jupyter's own
def test_the_notebook_trains_compares_and_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_EXAMPLE_EPOCHS", "1")
    monkeypatch.setenv("BENCH_EXAMPLE_IMAGES", "20")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("BENCH_STORE", raising=False)
    # a kernel of this very interpreter, whatever else is installed for the user
    kernel = tmp_path / "share" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    command = f'["{sys.executable}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"]'
    (kernel / "kernel.json").write_text(f'{{"argv": {command}, "display_name": "Python 3", "language": "python"}}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    notebook = nbformat.reads(NOTEBOOK.read_text(), as_version=4)  # type: ignore[no-untyped-call]
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are cleared"
    (run,) = [cell for cell in notebook.cells if "jobs=2" in cell.source]
    run.source = run.source.replace("jobs=2", "jobs=1")  # most of the time goes into the start of a worker
    work = tmp_path / "work"
    work.mkdir()
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(work)}}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    data = [output["data"] for output in outputs if "data" in output]
    pages = "\n".join(entry.get("text/html", "") for entry in data)
    assert "[4/4]" in pages or pages.count("ok ") >= 4, "the sweep was shown"
    assert "<table" in pages
    assert "vampprior" in pages
    assert sum("image/png" in entry for entry in data) == 3, "a plot, samples, reconstructions"
    assert any("prior VampPrior" in entry.get("text/plain", "") for entry in data)
    assert not [output for output in outputs if output["output_type"] == "error"]
    records = sorted(work.glob("runs/digits/cells/*/record-*.json"))
    assert len(records) == 4
    attempts = sorted(work.glob("runs/digits/cells/*/attempt-*.json"))
    assert len(attempts) == 4, "each cell was carried out once"
