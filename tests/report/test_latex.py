"""The LaTeX of a report: whether a real TeX takes it, and whether every table fits a line of text."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.report import Records, report
from tests.report.test_findings import SSM, VAMP, fill
from tests.report.test_layout import fill as fill_toy

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs, tabularx}
\begin{document}
\input{%s}
\end{document}
"""


def warnings(folder: Path) -> list[str]:
    """Compile a report's tables as an article of a single column; return what does not fit.

    A tenth of a point is less than a printer's dot.
    """
    (folder / "article.tex").write_text(DOCUMENT % "table.tex")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "article.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "article.pdf").stat().st_size > 10_000
    return re.findall(r"Overfull \\hbox .*", done.stdout)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_every_table_fits_a_line_of_text(mnist: Synthetic, toy: Synthetic) -> None:
    judged = type(mnist)(mnist.folder, settings=["headline.metric=nll"])
    long = "a reason that is long, with 50 % of $x_1^2$ & {more} #3"
    fill(judged, {(VAMP, 2): {"status": "diverged", "reason": long}, (SSM, 0): {"half": 0.1, "unreliable": long}})
    report(Records(judged.grid), Path("out"))
    fill_toy(toy)
    report(Records(toy.grid), Path("toy"))
    assert [warnings(Path(folder)) for folder in ("out", "toy")] == [[], []]


def test_no_place_of_this_machine_is_in_it(store_text: str) -> None:
    assert "runs" not in store_text
    assert str(Path.cwd()) not in store_text
    assert "Records:" not in store_text


def test_what_the_other_outputs_say_of_scores_and_plan_is_in_it(mnist: Synthetic) -> None:
    judged = type(mnist)(mnist.folder, settings=["headline.metric=vlb"])
    fill(judged, {(SSM, 0): {"half": 0.1, "unreliable": "two bases differ"}})
    judged.store.extend((2, 3))
    more = type(mnist)(mnist.folder, settings=["headline.metric=vlb"], seeds=4)
    report(Records(more.grid), Path("out"))
    notes = re.sub(r"\\allowbreak\{\}|[{}]", "", Path("out/table.tex").read_text().partition(r"\begingroup")[2])
    assert (
        rf"\noindent Table 2, MNIST: In doubt, {SSM}: VLB, NLL, log Z unreliable (log Z: two bases differ).\par"
        in notes
    )
    assert "Table 2, MNIST: missing: normal seed 3; " in notes
    assert "(4 of 16 cells).\\par" in notes
    assert "the plan was extended from 2 to 3 seeds after verdicts on 2 could be seen" in notes
    assert "bench run" not in notes


def test_a_table_has_one_metric(store_text: str) -> None:
    captions = re.findall(r"\\caption\{(.*)\}", store_text)
    metrics = [caption for caption in captions if "in nats" in caption]
    assert [re.search(r"\. (\w+) in nats", caption)[1] for caption in metrics] == ["VLB", "NLL"]  # type: ignore[index]


@pytest.fixture
def store_text(mnist: Synthetic) -> str:
    judged = type(mnist)(mnist.folder, settings=["headline.metric=nll"])
    fill(judged)
    report(Records(judged.grid))
    return (judged.folder / "report" / "table.tex").read_text()
