"""The benchmark of a GPU, as far as a CPU can try it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.benchmarks import gpu


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--out", str(tmp_path / "page.md")]) == 2
    assert capsys.readouterr().err == "error: there is no GPU: torch sees no CUDA device on this machine\n"
    assert not (tmp_path / "page.md").exists()


def test_a_part_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["epcohs"]) == 2
    assert capsys.readouterr().err == 'error: unknown part "epcohs"; there are: correct, epochs, cells, column\n'


def test_a_part_takes_the_place_of_its_earlier_section(tmp_path: Path) -> None:
    at, page = gpu.Bench("cpu", tmp_path, 1.0, 1), tmp_path / "page.md"
    for part, line in (("epochs", "old"), ("correct", "right"), ("epochs", "new")):
        gpu.write(page, part, [line, "", "| a |"], at)
    text = page.read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## correct", "## epochs"]
    assert "old" not in text
    assert text.endswith(".\n\nnew\n\n| a |\n")


@pytest.mark.slow
@pytest.mark.parametrize("part", [*gpu.PARTS])
def test_a_part_can_be_tried_on_a_cpu(part: str, tmp_path: Path) -> None:
    options = ["--device", "cpu", "--out", str(tmp_path / "page.md"), "--store", str(tmp_path), "--minutes", "0.1"]
    assert gpu.main([part, *options]) == 0
    assert f"## {part}\n\nOn a CPU" in (tmp_path / "page.md").read_text()
