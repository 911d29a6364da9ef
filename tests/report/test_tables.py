"""The table of a store with known records: every figure, comparison and footnote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bench.protocol import Metric, Score
from bench.report.findings import findings
from bench.report.layout import layout
from bench.report.tables import Table

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

STALE = "stale, the code of bench has changed since; `bench run --stale` runs it again"
ONE_SEED = "one seed: its intervals are over test items alone; another training may differ by more"
LOST = "scores of single items are not there; the interval takes the records' own standard errors over items"
LOST_BOTH = (
    "scores of single items are not there; the interval takes both standard errors, as if the items were not the same"
)
NO_HEADLINE = 'no verdicts: no record has the grid\'s headline metric "nll_ais"; did you mean "nll"?'


def three(store: Synthetic, label: str, values: Sequence[float], half: float = 0.0) -> None:
    for seed, value in enumerate(values):
        store.put(label, seed, value, half=half)


def shown(made: Table) -> dict[str, list[str]]:
    """Return label -> what stands in its columns, figure and what is below it in one."""
    return {
        entries[0].text: [f"{entry.text} {entry.below}".strip() + "*" * entry.bold for entry in entries[1:]]
        for entries in layout(made).rows
    }


# ---------------------------------------------------------------- figures


def test_every_cell_of_the_table(mnist: Synthetic) -> None:
    three(mnist, "normal", [95.0, 96.0, 97.0])
    three(mnist, "sliced-score-matching", [93.0, 94.5, 94.5], half=0.1)
    three(mnist, "vampprior[components=16]", [95.46, 95.5, 95.54])
    mnist.put("vampprior[components=500]", 1, 94.5)
    made = mnist.table()
    headings = [heading.text for heading in layout(made).headings]
    assert headings == [
        "strategy",
        "seeds",
        "VLB, nats",
        "published",
        "difference",
        "VLB vs normal",
        "NLL, nats",
        "NLL vs normal",
    ]
    # items do not vary here; half-widths are t(2) = 4.30265 times sd / sqrt(3): sd 1 and .04 of the first two, .866 and
    # .1 of log Z of the last; differences are Welch's: t(2.0064) = 4.2895 times sqrt(1.0016 / 3), and t(3.9200) =
    # 2.7993 times sqrt(1.75 / 3) and .1 of log Z
    assert shown(made) == {
        "normal": ["3/3", "96.00 [93.52, 98.48]", "96.03", "-0.03 too wide to tell", "-", "93.00 [90.52, 95.48]", "-"],
        "vampprior[components=16]": [
            "3/3",
            "95.50 [95.40, 95.60]",
            "95.25",
            "+0.25 outside, worse",
            "-0.50 [-2.98, +1.98]",
            "92.50 [92.40, 92.60]",
            "-0.50 [-2.98, +1.98]",
        ],
        "vampprior[components=500]": [
            "1/3",
            "94.50 [94.50, 94.50]",
            "-",
            "-",
            "-1.50 [-1.50, -1.50]",
            "91.50 [91.50, 91.50]",
            "-1.50 [-1.50, -1.50]",
        ],
        "sliced-score-matching": [
            "3/3",
            "94.00 [91.75, 96.25]",
            "91.89",
            "+2.11 too wide to tell",
            "-2.00 [-4.24, +0.24]",
            "91.00 [88.75, 93.25]",
            "-2.00 [-4.24, +0.24]",
        ],
        "VAE, GRBM prior, adversarial": ["-", "-", "92.93", "-", "-", "-", "-"],
        "NVAE w/o flow": ["-", "-", "78.01", "-", "-", "-", "-"],
        "IAF-VAE": ["-", "-", "79.10", "-", "-", "-", "-"],
        "CR-NVAE": ["-", "-", "76.93", "-", "-", "-", "-"],
        "BFN": ["-", "-", "77.87", "-", "-", "-", "-"],
    }


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        # published 96.03, margin .1; the half-width of (v - .01, v, v + .01) is .0248
        ([96.14, 96.15, 96.16], "inside"),
        ([96.15, 96.16, 96.17], "outside, worse"),
        ([95.90, 95.91, 95.92], "inside"),
        ([95.88, 95.89, 95.90], "outside, better"),
    ],
)
def test_the_verdict_on_a_published_number(mnist: Synthetic, values: list[float], verdict: str) -> None:
    three(mnist, "normal", values)
    beside = mnist.row("normal").comparison
    assert beside is not None
    assert beside.verdict == verdict
    assert beside.difference == pytest.approx(values[1] - 96.03)


def test_differences_are_taken_within_the_same_conditions(mnist: Synthetic) -> None:
    swept = type(mnist)(mnist.folder, settings=["train.epochs=[3, 100]"], seeds=2)
    for seed in (0, 1):
        for epochs, worse in ((3, 10.0), (100, 0.0)):
            swept.put(f"normal[train.epochs={epochs}]", seed, 95.0 + worse + seed)
            swept.put(f"vampprior[components=16,train.epochs={epochs}]", seed, 94.0 + worse + seed)
    found = {each.label: each for each in swept.table().rows}
    for epochs in (3, 100):
        difference = found[f"vampprior[components=16,train.epochs={epochs}]"].differences["vlb"]
        assert difference.mean == pytest.approx(-1.0)
        assert difference.n == (2, 2)


# ---------------------------------------------------------------- footnotes and notes


def test_failures_are_counted_and_explained(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    mnist.put("normal", 1, status="diverged", last_step=312, reason="the loss is not finite at step 312")
    mnist.put("normal", 2, status="timeout", reason="longer than 60 minutes")
    found = mnist.row("normal")
    assert (found.finished, found.failed, found.missing) == ((0,), {"diverged": 1, "timeout": 1}, ())
    assert found.marks == (
        "seed 1: diverged at step 312 (the loss is not finite)",
        "seed 2: timeout (longer than 60 minutes)",
        ONE_SEED,
    )
    assert shown(mnist.table())["normal"][0] == "1/3 1 diverged, 1 timeout"


def test_what_was_skipped_says_why(mnist: Synthetic) -> None:
    for seed in range(3):
        mnist.put("vampprior[components=500]", seed, status="skipped", reason="too few training items")
    assert mnist.row("vampprior[components=500]").marks == ("seeds 0, 1, 2: skipped (too few training items)",)


def test_unreliable_scores_are_marked(mnist: Synthetic) -> None:
    mnist.put("sliced-score-matching", 0, 93.0)
    mnist.put("sliced-score-matching", 1, 93.0, half=0.1, unreliable="two bases differ")
    assert mnist.row("sliced-score-matching").marks == ("seed 1: VLB, NLL, log Z unreliable (log Z: two bases differ)",)


def test_why_log_z_is_unreliable_is_said_where_no_other_score_suffers(mnist: Synthetic) -> None:
    annealed = Score(Metric("nll_ais", "nats"), 86.0, 200, "ais", 0, 0.1, 86.0, 86.0)
    log_z = Score(Metric("log_z", "nats", "neither"), 58.0, 2500, "ais", 0.01, 0.0, 58.0, 58.0, "two bases differ")
    mnist.put("normal", 0, scores=[annealed, log_z])
    assert mnist.row("normal").marks[0] == "seed 0: log Z unreliable (log Z: two bases differ)"


@pytest.mark.parametrize(("unreliable", "verdict"), [("", "outside, better"), ("two bases differ", "unreliable")])
def test_an_unreliable_score_is_neither_better_than_a_published_one_nor_inside(
    mnist: Synthetic, unreliable: str, verdict: str
) -> None:
    three(mnist, "sliced-score-matching", [60.0, 60.1])  # published: 91.89
    mnist.put("sliced-score-matching", 2, 60.0, half=0.1, unreliable=unreliable)
    beside = mnist.row("sliced-score-matching").comparison
    assert beside is not None
    assert beside.verdict == verdict


def test_stale_records_are_marked(mnist: Synthetic) -> None:
    three(mnist, "normal", [95.0, 95.0])
    mnist.put("vampprior[components=16]", 0, 95.0, code={"evaluate": "0" * 64})
    mnist.put("vampprior[components=16]", 2, 95.0, code={"fit": "0" * 64})
    assert mnist.row("normal").marks == ()
    assert mnist.row("vampprior[components=16]").marks[0] == f"seeds 0, 2: {STALE}"


def test_records_of_a_changed_plugin_are_marked(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0, code={"plugin": "0" * 64, "fit": "0" * 64})
    mnist.put("normal", 1, 95.0)
    assert mnist.row("normal").marks == (
        "seed 0: the code of one of its plugins has changed since; `bench run` runs it again",
    )


def test_a_value_that_is_not_finite_is_left_out_and_marked(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    mnist.put("normal", 1, float("inf"))
    found = mnist.row("normal")
    assert (found.scores["vlb"].mean, found.scores["vlb"].n) == (95.0, (1,))
    assert found.marks == ("seed 1: VLB, NLL not a finite number, left out of the mean", ONE_SEED)


def test_a_metric_that_was_not_scored_is_marked(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    mnist.put("normal", 1, scores=[Score(Metric("vlb", "nats"), 96.0, 100, "monte-carlo", 0.0, 0.4, 96.0, 96.0)])
    assert mnist.row("normal").marks == ("seed 1: NLL not scored", ONE_SEED, f"VLB: {LOST}")


def test_what_a_prior_without_a_density_cannot_have_is_said_and_is_no_failure(mnist: Synthetic) -> None:
    for seed in (0, 1):
        mnist.put("normal", seed, 95.0)
    reconstruction = Score(Metric("reconstruction", "nats", "neither"), 60.0, 100, "samples", 0.0, 0.4, 60.0, 60.0)
    mnist.put("vampprior[components=16]", 0, scores=[reconstruction])
    row = mnist.row("vampprior[components=16]")
    assert row.marks[0] == "seed 0: the prior can be sampled and has no density, so VLB, NLL cannot be had"
    assert not row.failed


def test_distances_between_samples_have_columns_beside_a_prior_without_a_density(mnist: Synthetic) -> None:
    def scores(kind: str) -> list[Score]:
        metrics = Metric("precision", "1", "higher"), Metric("c2st", "1"), Metric("sliced_wasserstein", "1")
        return [Score(metric, 0.6, 100, kind, 0.01, 0.01, 0.6, 0.6) for metric in metrics]

    bound = [Score(Metric(name, "nats"), 95.0, 100, "monte-carlo", 0.0, 0.4, 95.0, 95.0) for name in ("vlb", "nll")]
    mnist.put("normal", 0, scores=[*bound, *scores("monte-carlo")])
    assert [metric.name for metric in mnist.table().shown] == ["vlb", "nll"]
    mnist.put("vampprior[components=16]", 0, scores=scores("samples"))
    assert [metric.name for metric in mnist.table().shown] == ["vlb", "nll", "sliced_wasserstein", "c2st"]


def test_where_no_prior_has_a_density_distances_between_samples_are_the_columns(mnist: Synthetic) -> None:
    for name in ("normal", "vampprior[components=16]"):
        metrics = Metric("reconstruction", "nats", "neither"), Metric("c2st", "1"), Metric("sliced_wasserstein", "1")
        mnist.put(name, 0, scores=[Score(metric, 0.6, 100, "samples", 0.01, 0.01, 0.6, 0.6) for metric in metrics])
    made = mnist.table()
    assert [metric.name for metric in made.shown] == ["sliced_wasserstein", "c2st"]


def bits(value: float, annealed: float | None = None) -> list[Score]:
    """Return scores in bits per dimension: by annealing too where that is given, else exact."""
    names = ("vlb_bits", "nll_bits") if annealed is None else ("vlb_bits", "nll_bits", "nll_ais_bits")
    kind, doubt = ("exact", "") if annealed is None else ("ais", "too few chains")
    values = (value, value, annealed or 0.0)
    return [
        Score(Metric(name, "bits/dim"), each, 20, kind, 0.0, 0.1, each, each, doubt)
        for name, each in zip(names, values, strict=False)
    ]


def test_an_exact_likelihood_lacks_no_estimate_and_has_no_settings(colour: Synthetic) -> None:
    colour.put("uniform-pixels", 0, scores=bits(8.0))
    colour.put("normal", 0, scores=bits(6.7, 6.5))
    made = colour.table("cifar10-subset")
    marks = {row.label: row.marks for row in made.rows}
    assert marks["uniform-pixels"] == (ONE_SEED, f"VLB, NLL: {LOST}", f"difference of VLB, NLL: {LOST_BOTH}")
    assert "The likelihood of uniform-pixels is exact, whatever these settings" in made.conditions
    assert "AIS-NLL: by annealing, the first 50 items" in "; ".join(made.conditions)
    assert "VLB, NLL, AIS-NLL in bits/dim; lower is better" in made.caption


def test_a_footnote_is_about_what_the_table_shows(colour: Synthetic) -> None:
    nats = [replace(score, metric=Metric(score.metric.name[:3], "nats")) for score in bits(6.7, 6.5)[:2]]
    colour.put("normal", 0, scores=[*nats, *bits(6.7, 6.5)])
    made = colour.table("cifar10-subset")
    marks = {row.label: row.marks for row in made.rows}
    assert marks["normal"][0] == "seed 0: VLB, NLL, AIS-NLL unreliable (too few chains)"
    assert not any("is exact" in sentence for sentence in made.conditions)


def test_a_difference_is_of_all_seeds_of_either_side(mnist: Synthetic) -> None:
    three(mnist, "normal", [95.0, 95.1])
    three(mnist, "vampprior[components=16]", [94.0, 94.1, 94.2])
    row = mnist.row("vampprior[components=16]")
    assert row.differences["vlb"].mean == pytest.approx(94.1 - 95.05)
    assert row.differences["vlb"].n == (3, 2)
    assert row.marks == ()


def test_missing_cells_are_named_with_the_command(mnist: Synthetic) -> None:
    three(mnist, "normal", [95.0, 95.1, 95.2])
    three(mnist, "sliced-score-matching", [94.0, 94.1, 94.2])
    mnist.put("vampprior[components=16]", 1, 94.0)
    assert layout(mnist.table()).notes == (
        "missing: vampprior[components=16] seeds 0, 2; vampprior[components=500] seeds 0, 1, 2 (5 of 12 cells);"
        " `bench run` makes them",
        NO_HEADLINE,
    )


def test_a_seed_beyond_the_plan_is_counted_by_every_sentence_on_missing_cells(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    more = type(mnist)(mnist.folder, strategies=["normal"], seeds=[17])
    mnist.store.write_grid(mnist.grid.source)
    more.put("normal", 17, 95.0)
    table = mnist.table()
    assert "(11 of 13 cells);" in table.missing
    (counted,) = [finding.sentence for finding in findings(table) if "have no record yet" in finding.sentence]
    assert counted.startswith("11 of 13 cells have no record yet;")


def test_only_the_latest_version_of_a_metric_counts(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    mnist.put(
        "normal", 1, scores=[Score(Metric("vlb", "nats", version=2), 96.0, 9, "monte-carlo", 0.0, 0.4, 96.0, 96.0)]
    )
    made = mnist.table()
    assert (made.rows[0].scores["vlb"].mean, made.rows[0].scores["vlb"].n) == (96.0, (1,))
    assert "left out: vlb of normal seed 0, which is version 1 of that metric instead of 2" in made.notes


def test_rows_of_the_same_label_are_told_apart(mnist: Synthetic) -> None:
    wide = type(mnist)(mnist.folder, settings=["strategy.sliced-score-matching.energy.hidden=128"], seeds=1)
    wide.put("sliced-score-matching", 0, 93.0)
    mnist.put("sliced-score-matching", 0, 94.0)
    labels = [row.label for row in wide.table().rows]
    assert "sliced-score-matching (energy.hidden=128)" in labels
    assert "sliced-score-matching (energy.hidden=64)" in labels


def test_a_row_with_other_hyper_parameters_has_no_published_number(mnist: Synthetic) -> None:
    other = type(mnist)(mnist.folder, settings=["strategy.sliced-score-matching.energy.hidden=128"])
    other.put("sliced-score-matching", 0, 93.0)
    made = other.table()
    assert next(row for row in made.rows if row.label == "sliced-score-matching").number is None
    assert "VAE, GRBM prior, SSM" in [number.model for number in made.others]


def test_a_unit_other_than_the_published_one_is_not_compared(mnist: Synthetic) -> None:
    mnist.put("normal", 0, scores=[Score(Metric("vlb", "bits/dim"), 6.1, 9, "monte-carlo", 0.0, 0.1, 6.1, 6.1)])
    assert mnist.row("normal").number is not None
    assert mnist.row("normal").comparison is None
