"""One metric over several data sets: every figure of a store with known records, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.protocol import Metric, Score
from bench.report import report

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

DATASETS = ["8-gaussians", "checkerboard", "2-spirals", "potential-1", "potential-2", "potential-3", "potential-4"]
LEARNED, FIXED = "importance-weighted[variance=learned]", "importance-weighted[variance=fixed]"


def known(kl: float, unreliable: str = "") -> tuple[Score, ...]:
    """Return the scores of a divergence from the data, whose entropy is 3 nats."""
    return tuple(
        Score(Metric(name, "nats"), value, 5000, "quadrature", 0.0, 0.01, value, value, unreliable)
        for name, value in (("nll_exact", kl + 3), ("kl_data", kl))
    )


def fill(toy: Synthetic) -> None:
    """Write some records: VampPrior better than the baseline on one data set of two, the others in trouble."""
    for seed in (0, 1):
        for dataset, normal, vampprior in (("8-gaussians", 1.0, 0.25), ("checkerboard", 0.9, 0.95)):
            shift = 0.01 * seed
            toy.put("normal", seed, dataset=dataset, scores=known(normal + shift))
            toy.put("vampprior", seed, dataset=dataset, scores=known(vampprior + shift))
        toy.put(LEARNED, seed, dataset="8-gaussians", status="diverged", reason="a loss is not finite", last_step=7)
    toy.put(FIXED, 0, dataset="checkerboard", scores=known(0.5, "quadrature had not converged"))


def rows(text: str, title: str) -> dict[str, list[str]]:
    """Return label -> entries of the table under a title of a Markdown document."""
    lines = text.partition(f"## {title}\n")[2].partition("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")]
    plain = [[cell.replace("\\", "").replace("<br>", " ") for cell in row] for row in cells]
    return {row[0]: row[1:] for row in plain if not row[0].startswith(":")}


def test_strategies_are_rows_and_data_sets_columns(toy: Synthetic) -> None:
    fill(toy)
    report("toy", [], None)
    made = rows((toy.folder / "report" / "table.md").read_text(), "Table 1, toy data, KL from the data")
    assert made["strategy"] == DATASETS
    # over two seeds .01 apart, Student's t gives 12.7 * .01/2 = .06
    assert made["normal"][:3] == ["1.00 [0.94, 1.07]", "0.91 [0.84, 0.97]", "-"]
    assert made["vampprior"][:3] == ["**0.26** [0.19, 0.32]", "0.95 [0.89, 1.02]", "-"]
    assert [label.partition("<")[0] for label in made] == ["strategy", "normal", LEARNED, FIXED, "vampprior"]


def test_both_metrics_are_printed_in_place_of_a_table_for_each_data_set(toy: Synthetic) -> None:
    fill(toy)
    text = report("toy", [], None)
    assert text.index("Table 1, toy data, KL from the data\n") < text.index("Table 1, toy data, exact NLL\n")
    assert "Table 1, toy data: 8-gaussians" not in text
    assert "A table of each data set, with every difference and note, is in the files\n" in text
    for name in ("table.md", "table.tex"):
        file = (toy.folder / "report" / name).read_text()
        assert all(f"Table 1, toy data: {dataset}" in file for dataset in DATASETS)


def test_failures_and_doubts_are_footnotes(toy: Synthetic) -> None:
    fill(toy)
    report("toy", [], None)
    text = (toy.folder / "report" / "table.md").read_text()
    made = rows(text, "Table 1, toy data, KL from the data")
    # what all records of a strategy share stands at its name
    assert made[f"{LEARNED}<sup>a</sup>"][0] == "- 2 diverged"
    assert "- (a) seeds 0, 1: diverged at step 7 (a loss is not finite)" in text
    assert made[f"{FIXED}<sup>b,c</sup>"][1] == "0.50 [0.48, 0.52]"
    assert "- (b) seed 0: exact NLL, KL from the data unreliable (quadrature had not converged)" in text
    assert "- (c) one seed: the interval is that of the test images" in text


def test_what_one_data_set_alone_suffers_stands_at_its_figure(toy: Synthetic) -> None:
    fill(toy)
    toy.put("vampprior", 0, dataset="2-spirals", scores=known(0.3))
    report("toy", [], None)
    made = rows((toy.folder / "report" / "table.md").read_text(), "Table 1, toy data, KL from the data")
    (shown,) = (entries for label, entries in made.items() if label.startswith("vampprior"))
    assert [entry.count("<sup>") for entry in shown[:4]] == [0, 0, 1, 0]


def test_missing_cells_are_counted(toy: Synthetic) -> None:
    fill(toy)
    text = report("toy", [], None)
    # of 2 seeds x 4 strategies, 2 are missing on the first data set and 3 on the second
    assert "missing: 45 of 56 cells (2 on 8-gaussians, 3 on checkerboard, 8 on 2-spirals, 8 on potential-1," in text
    assert "`bench run --grid toy` makes them" in text


def test_without_such_scores_each_data_set_has_its_table(toy: Synthetic) -> None:
    text = report("toy", [], None)
    assert "Table 1, toy data: checkerboard" in text
    assert "KL from the data" not in text


def test_one_data_set_alone_has_its_table(here: Path, toy: Synthetic) -> None:
    Path("one.toml").write_text(
        'title = "One"\nseeds = 1\nnetworks.latent = 2\n'
        '[[dataset]]\nname = "checkerboard"\n[[strategy]]\nname = "normal"\n'
    )
    one = type(toy)(Path("runs/one"), "one.toml")
    one.put("normal", 0, scores=known(0.5))
    text = report("one.toml", [], None)
    assert text.startswith("One\n")
    assert "KL from the data, nats" in text
    assert "0.50 [0.48, 0.52]" in text


@pytest.mark.parametrize("columns", ["60", "120", "200"])
def test_every_figure_is_printed_however_narrow(toy: Synthetic, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    fill(toy)
    toy.put("normal", 0, dataset="potential-4", scores=known(0.123))
    monkeypatch.setenv("COLUMNS", columns)
    text = report("toy", [], None)
    assert max(map(len, text.partition("\n (a)")[0].splitlines())) <= int(columns)
    for figure in ("1.00", "[0.94, 1.07]", "0.26*", "2 diverged", "0.12"):
        assert figure in text


def test_latex_has_a_label_for_each_metric(toy: Synthetic) -> None:
    fill(toy)
    report("toy", [], None)
    text = (toy.folder / "report" / "table.tex").read_text()
    for label in (r"\label{tab:kl-data}", r"\label{tab:nll-exact}", r"\label{tab:8-gaussians}"):
        assert text.count(label) == 1
