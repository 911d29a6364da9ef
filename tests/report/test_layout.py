"""One metric over several data sets: every figure of a store with known records, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.protocol import Metric, Score, UserError
from bench.report import Records, View
from bench.report import report as made_report

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

WHOLE = View(wide=True)


def report(grid: Any, stores: Any, out: Any, **options: Any) -> str:
    """Return a report with every metric, footnote and condition."""
    return made_report(Records(grid, stores, **options), out, WHOLE)


DATASETS = ["8-gaussians", "checkerboard", "2-spirals", "potential-1", "potential-2", "potential-3", "potential-4"]
LEARNED, FIXED = "importance-weighted[variance=learned]", "importance-weighted[variance=fixed]"


def known(kl: float, unreliable: str = "") -> tuple[Score, ...]:
    """Return the scores of a divergence from the data, whose entropy is 3 nats."""
    return tuple(
        Score(Metric(name, "nats"), value, 5000, "quadrature", 0.0, 0.01, value, value, unreliable)
        for name, value in (("nll_exact", kl + 3), ("kl_data", kl))
    )


def put(toy: Synthetic, label: str, seed: int, dataset: str, kl: float, unreliable: str = "") -> None:
    """Write a record of a divergence that is the same of all test items."""
    beside = {"kl_data": np.full(50, kl), "nll_exact": np.full(50, kl + 3)}
    toy.put(label, seed, dataset=dataset, scores=known(kl, unreliable), arrays=beside)


def fill(toy: Synthetic) -> None:
    """Write some records: VampPrior better than the baseline on one data set, worse on another; troubles of others."""
    for seed in range(3):
        for dataset, normal, vampprior in (("8-gaussians", 1.0, 0.25), ("checkerboard", 0.9, 0.95)):
            shift = 0.01 * seed
            put(toy, "normal", seed, dataset, normal + shift)
            put(toy, "vampprior", seed, dataset, vampprior + shift)
        toy.put(LEARNED, seed, dataset="8-gaussians", status="diverged", reason="a loss is not finite", last_step=7)
    put(toy, FIXED, 0, "checkerboard", 0.5, "quadrature had not converged")


def rows(text: str, title: str) -> dict[str, list[str]]:
    """Return label -> entries of the table under a title of a Markdown document."""
    lines = text.partition(f"## {title}\n")[2].partition("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")]
    plain = [[cell.replace("\\", "").replace("<br>", " ") for cell in row] for row in cells]
    return {row[0]: row[1:] for row in plain if not row[0].startswith(":")}


def test_a_margin_is_of_its_data_set_alone(toy: Synthetic) -> None:
    margins = {"8-gaussians": 0.1, "checkerboard": 0.2}
    judged = type(toy)(
        toy.folder,
        "toy",
        strategies=["normal", "vampprior"],
        settings=[
            "headline.metric=kl_data",
            *(f"headline.same_within.{name}={each}" for name, each in margins.items()),
        ],
    )
    kept = {name: judged.grid.headline.same_within.get(name) for name in DATASETS}
    assert {name: judged.table(name).margin for name in DATASETS} == kept
    assert (kept["8-gaussians"], kept["checkerboard"]) == (0.1, 0.2)


def test_strategies_are_rows_and_data_sets_columns(toy: Synthetic) -> None:
    fill(toy)
    report(toy.grid, [], None)
    made = rows((toy.folder / "report" / "table.md").read_text(), "Table 1, toy data, KL from the data")
    assert made["strategy"] == DATASETS
    # over three seeds .01 apart, Student's t gives 4.30 * .01 / sqrt(3) = .025; Welch's interval of the difference is
    # +-.023, and +-.75 and +-.05 are outside of it
    assert made["normal"][:3] == ["1.01 [0.99, 1.03]", "0.91 [0.89, 0.93]", "-"]
    assert made["vampprior"][:3] == ["**0.26** [0.24, 0.28] better", "**0.96** [0.94, 0.98] worse", "-"]
    assert [label.partition("<")[0] for label in made] == ["strategy", "normal", LEARNED, FIXED, "vampprior"]
    assert (
        "hold at 5 % for all 3 comparisons of each data set together." in (toy.folder / "report/table.md").read_text()
    )


def test_both_metrics_are_printed_in_place_of_a_table_for_each_data_set(toy: Synthetic) -> None:
    fill(toy)
    text = made_report(Records(toy.grid))
    assert text.index("Table 1, toy data, KL from the data\n") < text.index("Table 1, toy data, exact NLL\n")
    assert "Table 1, toy data: 8-gaussians" not in text
    assert "Every metric, cost and stability: --wide, or table.md\n" in text
    file = (toy.folder / "report" / "table.md").read_text()
    assert all(f"Table 1, toy data: {dataset}" in file for dataset in DATASETS)


def test_failures_and_doubts_are_footnotes(toy: Synthetic) -> None:
    fill(toy)
    report(toy.grid, [], None)
    text = (toy.folder / "report" / "table.md").read_text()
    made = rows(text, "Table 1, toy data, KL from the data")
    # what all records of a strategy share stands at its name
    assert made[f"{LEARNED}<sup>a</sup>"][0] == "- 3 diverged"
    assert "- (a) seeds 0, 1, 2: diverged at step 7 (a loss is not finite)" in text
    assert made[f"{FIXED}<sup>b,c</sup>"][1] == "0.50 [0.50, 0.50]"
    assert "- (b) seed 0: KL from the data unreliable (quadrature had not converged)" in text
    assert "- (b) seed 0: exact NLL unreliable (quadrature had not converged)" in text, "in the table of that metric"
    assert "- (c) one seed: its intervals are over test items alone; another training may differ by more" in text


def test_what_one_data_set_alone_suffers_stands_at_its_figure(toy: Synthetic) -> None:
    fill(toy)
    put(toy, "vampprior", 0, "2-spirals", 0.3)
    report(toy.grid, [], None)
    made = rows((toy.folder / "report" / "table.md").read_text(), "Table 1, toy data, KL from the data")
    (shown,) = (entries for label, entries in made.items() if label.startswith("vampprior"))
    assert [entry.count("<sup>") for entry in shown[:4]] == [0, 0, 1, 0]


def test_missing_cells_are_counted(toy: Synthetic) -> None:
    fill(toy)
    text = report(toy.grid, [], None)
    # of 3 seeds x 4 strategies, 3 are missing on the first data set and 5 on the second
    assert "missing: 68 of 84 cells (3 on 8-gaussians, 5 on checkerboard, 12 on 2-spirals, 12 on potential-1," in text
    assert "`bench run --grid toy` makes them" in text


def test_without_such_scores_each_data_set_has_its_table(toy: Synthetic) -> None:
    text = report(toy.grid, [], None)
    assert "Table 1, toy data: checkerboard" in text
    assert "KL from the data" not in text


def test_one_data_set_alone_has_its_table(here: Path, toy: Synthetic) -> None:
    Path("one.toml").write_text(
        'title = "One"\nseeds = 1\nnetworks.latent = 2\n'
        '[[dataset]]\nname = "checkerboard"\n[[strategy]]\nname = "normal"\n'
    )
    one = type(toy)(Path("runs/one"), "one.toml")
    one.put("normal", 0, scores=known(0.5))  # without scores of single items: 1.96 times its own .01
    text = report("one.toml", [], None)
    assert text.startswith("One\n")
    assert "KL from the data, nats" in text
    assert "0.50 [0.48, 0.52]" in text


@pytest.mark.parametrize("columns", ["60", "120", "200"])
def test_every_figure_is_printed_however_narrow(toy: Synthetic, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    fill(toy)
    put(toy, "normal", 0, "potential-4", 0.123)
    monkeypatch.setenv("COLUMNS", columns)
    text = report(toy.grid, [], None)
    assert max(map(len, text.partition("\n (a)")[0].splitlines())) <= int(columns)
    for figure in ("1.01", "[0.99, 1.03]", "0.26*", "0.96*", "3 diverged", "0.12"):
        assert figure in text


def test_latex_has_a_label_for_each_metric(toy: Synthetic) -> None:
    fill(toy)
    report(toy.grid, [], None)
    text = (toy.folder / "report" / "table.tex").read_text()
    # data sets without records have none; those with some have one for each metric
    for label in ("kl-data-1", "nll-exact-1", "8-gaussians-kl-data", "8-gaussians-nll-exact"):
        assert text.count(rf"\label{{tab:{label}}}") == 1


def test_what_has_no_unit_has_three_digits_and_no_unit_is_named(mnist: Synthetic) -> None:
    """A distance that is scaled by the data, and the accuracy of a classifier: the unit 1."""
    for label, value in (("normal", 0.0184), ("vampprior[components=16]", 0.0101)):
        for seed in range(3):
            own = value + seed / 1e4
            score = Score(Metric("sliced_wasserstein", "1"), own, 100, "samples", 0.0, 1e-5, own, own)
            mnist.put(label, seed, scores=[score])
    text = made_report(Records("mnist", [mnist.folder]), Path("out"), View(wide=True, metric="sliced_wasserstein"))
    headings = next(line for line in text.splitlines() if "strategy" in line)
    assert "SW" in headings
    assert "SW," not in headings
    assert "0.019" in text
    assert "by 0.008 [" in " ".join(text.split())


def test_a_metric_may_be_asked_for_where_one_data_set_has_no_scores_yet(toy: Synthetic) -> None:
    fill(toy)
    text = made_report(Records(toy.grid), Path("out"), View(metric="nll_exact"))
    assert "Better than normal in exact NLL: vampprior on 8-gaussians" in " ".join(text.split())
    with pytest.raises(UserError, match=r'^--metric: no record has the metric "nll_exat"; did you mean "nll_exact"\?$'):
        made_report(Records(toy.grid), Path("out"), View(metric="nll_exat"))


def test_a_metric_or_a_baseline_that_one_data_set_lacks_is_said_there_and_refused_where_all_lack_it(
    toy: Synthetic,
) -> None:
    fill(toy)
    for label, value in (("normal", 3.0), ("vampprior", 2.0)):
        for seed in range(3):
            own = value + seed / 100
            score = Score(Metric("elegance", "1"), own, 50, "samples", 0.0, 0.01, own, own)
            toy.put(label, seed, dataset="potential-1", scores=[score])
    text = " ".join(made_report(Records(toy.grid), Path("out"), View(metric="elegance")).split())
    assert "vampprior on potential-1" in text
    assert 'no record has the metric "elegance"; there are kl_data, nll_exact' in text
    text = " ".join(made_report(Records(toy.grid), Path("out"), View(baseline=FIXED, metric="kl_data")).split())
    assert "potential-1: no verdicts" in text
    with pytest.raises(UserError, match=r'^--baseline: no data set has a row "nomal"; did you mean "normal"\?$'):
        made_report(Records(toy.grid), Path("out"), View(baseline="nomal"))
