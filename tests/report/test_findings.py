"""What a table comes to, in sentences: of stores with records of known values."""

from __future__ import annotations

import math
import textwrap
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bench.protocol import Metric, Score, UserError
from bench.report import Records, View, report
from bench.report.findings import Finding, _tuned, findings, needs
from bench.report.metrics import MEANINGS
from bench.report.power import Margin, Need, need
from bench.report.statistics import Interval, Spread
from bench.report.summary import WIDTH, beside, pairs, summary
from tests.report.test_layout import fill as filled
from tests.report.test_layout import put

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

VAMP, WIDE, SSM = "vampprior[components=16]", "vampprior[components=500]", "sliced-score-matching"
VLB = Metric("vlb", "nats")


@pytest.fixture
def store(mnist: Synthetic) -> Synthetic:
    return type(mnist)(mnist.folder, settings=["headline.metric=nll", "headline.same_within={}"])


Own = dict[tuple[str, int], dict[str, Any]]


def fill(store: Synthetic, own: Own | None = None) -> None:
    """Write a baseline, a row 2 nats better, one 2 nats worse, and one that differs by half a nat and its spread.

    Args:
        store: to write into.
        own: label and seed -> what that record has of its own.
    """
    for seed in range(3):
        shift = (seed - 1) / 100
        values = {"normal": 95.0 + shift, SSM: 93.0 + shift, VAMP: 97.0 + shift, WIDE: 95.5 + (seed - 1) / 2}
        for label, value in values.items():
            fields = (own or {}).get((label, seed), {})
            store.put(label, seed, None if "status" in fields else value, **fields)


def kinds(found: list[Finding]) -> list[str]:
    return [finding.kind for finding in found]


def test_what_is_better_comes_first_then_what_is_worse_and_what_would_decide_the_rest(store: Synthetic) -> None:
    fill(store)
    found = findings(store.table())
    assert kinds(found)[:3] == ["better", "worse", "undecided"]
    better, worse, undecided = found[:3]
    assert better == Finding(
        "better", "Better than normal in NLL: sliced-score-matching by 2.00 nats [1.98, 2.02].", (SSM,)
    )
    assert worse.sentence == f"Worse than normal: {VAMP} by 2.00 nats [1.98, 2.02]."
    assert undecided.rows == (WIDE,)
    # s = .5 with 2 degrees of freedom: .5 * sqrt(2 / .4463) = 1.06 at most; 1.06 t / sqrt(n) < .5 from n = 20 on
    assert undecided.sentence.startswith("Undecided with 3 seeds each. Seeds that the row and normal would each need: ")
    assert undecided.sentence.endswith(f" {WIDE} 20.")


def test_the_cost_names_the_least_the_most_and_what_is_better(store: Synthetic) -> None:
    longer = {"resources": {"fit_seconds": 30.0, "evaluate_seconds": 5.0, "overhead_seconds": 1.0}}
    fill(store, {(SSM, seed): longer for seed in range(3)})
    (cost,) = (finding for finding in findings(store.table()) if finding.kind == "cost")
    assert "Training takes 10 s (normal) to 30 s (sliced-score-matching) a seed" in cost.sentence
    assert "sliced-score-matching 3 times as long as normal" in cost.sentence
    # three records of 36 s and nine of 12.5 s
    assert "All 12 records took 3.7 min with scoring, on cpu." in cost.sentence


def test_one_seed_on_a_busy_machine_does_not_make_a_row_slow(store: Synthetic) -> None:
    fill(store, {(SSM, 0): {"resources": {"fit_seconds": 300.0, "evaluate_seconds": 2.0, "overhead_seconds": 0.5}}})
    (cost,) = (finding for finding in findings(store.table()) if finding.kind == "cost")
    assert "sliced-score-matching 1 times as long as normal" in cost.sentence
    assert f"These times are rough: seeds of one row differ by up to 30 times ({SSM})." in cost.sentence


def test_failures_are_told_with_their_number_and_the_first_reason(store: Synthetic) -> None:
    fill(store, {(VAMP, 2): {"status": "diverged", "reason": "a loss is not finite", "last_step": 7}})
    (failed,) = (finding for finding in findings(store.table()) if finding.kind == "failed")
    assert failed == Finding("failed", f"Failed: {VAMP}, 1 of 3: diverged at step 7 (a loss is not finite).", (VAMP,))


def test_what_was_skipped_is_not_called_failed(store: Synthetic) -> None:
    own: Own = {(VAMP, seed): {"status": "skipped", "reason": "it has no images"} for seed in range(3)}
    own[WIDE, 1] = {"status": "error", "reason": "it broke " * 100}
    own[WIDE, 2] = {"status": "crashed", "reason": "signal 9"}
    fill(store, own)
    failed, skipped = (finding for finding in findings(store.table()) if finding.kind == "failed")
    assert failed.sentence.startswith(f"Failed: {WIDE}, 1 of 3: error (it broke it broke")
    assert failed.sentence.endswith("), 1 of 3: crashed (signal 9).")
    assert len(failed.sentence) < 320
    assert skipped == Finding("failed", f"Skipped: {VAMP}, 3 of 3: skipped (it has no images).", (VAMP,))


def test_a_note_that_asks_ends_with_its_question_mark(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0)
    asked = 'no verdicts: no record has the grid\'s headline metric "nll_ais"; did you mean "nll"?'
    assert asked in [finding.sentence for finding in findings(mnist.table())]


def test_where_nothing_came_to_scores_no_metric_is_missed(mnist: Synthetic) -> None:
    mnist.put("normal", 0, status="error", reason="it broke")
    assert mnist.table().notes == ()


def test_rows_that_take_as_long_are_not_ranked_by_it(store: Synthetic) -> None:
    fill(store)
    (cost,) = (finding for finding in findings(store.table()) if finding.kind == "cost")
    assert cost.sentence.startswith("Training takes 10 s a seed; ")


def test_nothing_better_is_said_as_such(store: Synthetic) -> None:
    for seed in range(3):
        store.put("normal", seed, 95.0 + seed / 100)
        store.put(VAMP, seed, 97.0 + seed / 100)
    assert findings(store.table())[0].sentence == "Nothing is shown to be better than normal in NLL."


def test_without_enough_seeds_there_is_no_verdict_and_the_best_so_far(store: Synthetic) -> None:
    store.put("normal", 0, 95.0)
    store.put(VAMP, 0, 94.0)
    said = [finding.sentence for finding in findings(store.table())]
    assert said[0] == "No verdict yet on what is better than normal in NLL."
    assert said[1] == f"Lowest NLL so far: {VAMP}, 91.00 nats, without a verdict."
    assert f"No verdict on {VAMP}: preliminary, 1 of 3 seeds." in said
    assert any(sentence.startswith("In doubt, every row: one seed") for sentence in said)


def test_without_a_record_the_command_that_makes_them(store: Synthetic) -> None:
    assert [finding.sentence for finding in findings(store.table())] == [
        "No record yet of 12 cells; `bench run` makes them."
    ]


def test_a_doubt_is_told_once_with_the_rows_that_it_concerns(store: Synthetic) -> None:
    doubtful = {"half": 0.1, "unreliable": "two bases differ"}
    # what a record says of its code is filled in from the circumstances
    dirty = {"git": {"commit": "a" * 40, "dirty": True}}
    fill(store, {(SSM, 0): doubtful, (VAMP, 0): dirty})
    doubts = [finding for finding in findings(store.table()) if finding.kind == "doubt"]
    assert [(doubt.rows, doubt.sentence) for doubt in doubts if doubt.rows] == [
        ((VAMP,), f"In doubt, {VAMP}: made with uncommitted changes of the code."),
        ((SSM,), f"In doubt, {SSM}: NLL, log Z unreliable (log Z: two bases differ)."),
    ]


def test_the_same_within_the_margin(mnist: Synthetic) -> None:
    judged = type(mnist)(mnist.folder, settings=["headline.metric=nll", "headline.same_within.mnist=0.5"])
    for seed in range(3):
        judged.put("normal", seed, 95.0 + seed / 100)
        judged.put(VAMP, seed, 95.0 + (2 - seed) / 100)
    same = next(finding for finding in findings(judged.table()) if finding.kind == "same")
    assert same == Finding("same", f"{VAMP}: the same as normal within 0.5 nats.", (VAMP,))


def test_seeds_for_sameness_are_counted_among_all_rows_that_are_not_shown_to_be_the_same(mnist: Synthetic) -> None:
    judged = type(mnist)(mnist.folder, settings=["headline.metric=nll", "headline.same_within.mnist=0.5"])
    for seed in range(3):
        judged.put("normal", seed, 95.0 + (seed - 1) / 4)
        judged.put(SSM, seed, 80.0 + (seed - 1) / 4)  # better, and so not the same
        judged.put(VAMP, seed, 95.0 + (1 - seed) / 4)
    table = judged.table()
    rows = {row.label: row for row in table.rows}
    sides = rows[VAMP].scores["nll"], rows["normal"].scores["nll"], rows[VAMP].differences["nll"]
    assert needs(table)[VAMP] == need(*sides, table.comparisons - 1, Margin(0.5, table.comparisons))


@pytest.mark.parametrize(
    ("log_z", "items", "remedy"),
    [
        (0.0, 0.6, "more test items"),
        (0.2, 0.6, "more test items"),
        (0.0, 0.5, "more test items"),
        (0.6, 0.2, "a better log Z"),
        (0.5, 0.0, "a better log Z"),
        (0.3, 0.3, "more test items and a better log Z"),
        (0.6, 0.6, "more test items and a better log Z"),
    ],
)
def test_what_seeds_cannot_narrow_is_named(log_z: float, items: float, remedy: str) -> None:
    """The difference is half a nat."""
    assert Need(None, 0.5, log_z, items).remedy() == remedy
    assert Need(None, 0.5, log_z, items).remedy("patience") == remedy.replace("a better log Z", "patience")


# ---------------------------------------------------------------- the table beneath


def test_a_line_has_score_difference_verdict_cost_and_stability(store: Synthetic) -> None:
    points = [
        {"epoch": epoch, "step": epoch, "metric": "gradient_max_encoder", "value": value}
        for epoch, value in ((1, 2.0), (2, 1.0), (3, 5.0))
    ]
    fill(store, {(SSM, 0): {"curves": points}})
    made = summary(store.table())
    assert [heading.text for heading in made.headings] == [
        *("strategy", "seeds", "NLL, nats", "vs normal", "verdict", "fit, min", "worst jump")
    ]
    line = next(row for row in made.rows if row[0].text == SSM)
    assert [entry.text for entry in line] == [SSM, "3/3", "90.00", "-2.00", "better", "0.17", "5x"]
    assert [entry.sort for entry in line[2:]] == [pytest.approx(90), pytest.approx(-2), None, 10.0, 5.0]
    assert (line[4].sign, line[4].bold) == ("better", True)


def test_the_printed_table_is_at_most_100_wide_and_its_caption_two_lines(store: Synthetic) -> None:
    fill(store)
    lines = report(Records(store.grid, [store.folder])).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(" strategy"))
    table = lines[first : lines.index("", first)]
    assert max(map(len, table)) <= WIDTH
    end = lines.index("", first)
    assert 1 <= lines[end + 1 :].index("") <= 2
    assert max(len(line) for line in lines if "`" not in line and "/" not in line) <= WIDTH


def test_another_metric_and_another_baseline(store: Synthetic) -> None:
    fill(store)
    text = report(Records(store.grid, [store.folder]), view=View(metric="vlb", baseline=VAMP))
    assert f"Better than {VAMP} in VLB: sliced-score-matching by 4.00 nats" in " ".join(text.split())
    with pytest.raises(UserError, match=r'^--metric: no record has the metric "vbl"; did you mean "vlb"\?'):
        report(Records(store.grid, [store.folder]), view=View(metric="vbl"))
    with pytest.raises(UserError, match=r'^--baseline: mnist has no row "nomal"; did you mean "normal"\?'):
        report(Records(store.grid, [store.folder]), view=View(baseline="nomal"))


def test_a_baseline_without_scores_is_said(store: Synthetic) -> None:
    for seed in range(3):
        store.put("normal", seed, 95.0 + seed / 100)
    text = " ".join(report(Records(store.grid, [store.folder]), view=View(baseline=VAMP)).split())
    assert f'nothing is compared: "{VAMP}" has no scores yet.' in text


def test_what_leads_without_a_verdict_names_the_unreliable_rows_that_it_leaves_out(store: Synthetic) -> None:
    for seed in range(2):
        store.put("normal", seed, 95.0 + seed / 100)
        store.put(VAMP, seed, 90.0 + seed / 100, half=0.1, unreliable="few chains")
    text = " ".join(report(Records(store.grid, [store.folder])).split())
    assert f"normal, 92.00 nats, without a verdict; unreliable, and left out: {VAMP}." in text


def test_the_command_that_makes_missing_cells_is_the_one_that_is_known(store: Synthetic) -> None:
    store.put("normal", 0, 95.0)
    known = Records(store.grid, [store.folder], run="bench run --grid mnist --set train.epochs=1")
    assert "no record yet; `bench run --grid mnist --set train.epochs=1` makes them." in " ".join(report(known).split())


def test_every_pair_is_compared_and_all_are_one_family(store: Synthetic) -> None:
    fill(store)
    (made,) = pairs(store.table())
    found = {(row[0].text + row[0].below, row[1].text + row[1].below): row[3].text for row in made.rows}
    assert len(found) == 6
    assert found[SSM, VAMP] == "better"
    assert found[SSM, WIDE] == "better", "of the differences 2.5, 2 and 1.5"
    assert found[WIDE, "normal"] == "undecided"
    assert "for all 6 comparisons together" in made.caption


def test_pairs_are_of_the_same_conditions(mnist: Synthetic) -> None:
    swept = type(mnist)(mnist.folder, settings=["train.epochs=[3, 100]"])
    for epochs in (3, 100):
        swept.put(f"normal[train.epochs={epochs}]", 0, 95.0 + epochs)
        swept.put(f"vampprior[components=16,train.epochs={epochs}]", 0, 94.0 + epochs)
    (made,) = pairs(swept.table())
    assert [row[2].sort for row in made.rows] == pytest.approx([-1.0, -1.0])


def test_pairs_are_the_same_within_the_margin_too(mnist: Synthetic) -> None:
    judged = type(mnist)(mnist.folder, settings=["headline.metric=nll", "headline.same_within.mnist=0.5"])
    for seed in range(3):
        judged.put(SSM, seed, 95.0 + seed / 100)
        judged.put(VAMP, seed, 95.0 + (2 - seed) / 100)
    (made,) = pairs(judged.table())
    (line,) = made.rows
    assert line[3].text == "same within 0.5"


def test_no_caption_has_more_than_two_lines(store: Synthetic) -> None:
    fill(store)
    table = store.table()
    for name in MEANINGS:
        metric = Metric(name, "nats", "lower")
        caption = summary(replace(table, lead=metric, headline=metric, comparisons=12)).caption
        assert "verdicts at 5 % for all 12 comparisons" in caption
        assert len(textwrap.wrap(caption, WIDTH - 1)) <= 2, caption


def test_published_numbers_stand_in_a_table_of_their_own(store: Synthetic) -> None:
    fill(store)
    (made,) = beside(store.table())
    line = next(row for row in made.rows if row[0].text == "normal")
    assert [entry.text for entry in line] == ["normal", "3/3", "95.00", "96.03", "-1.03", "outside, better"]


# ---------------------------------------------------------------- several data sets


def test_across_data_sets_a_row_is_named_with_where_it_is_better(toy: Synthetic) -> None:
    filled(toy)
    said = " ".join(report(Records(toy.grid)).split())
    assert "▲ Better than normal in KL from the data: vampprior on 8-gaussians." in said
    assert "▼ Worse than normal in KL from the data: vampprior on checkerboard." in said
    assert "68 of 84 cells have no record yet; `bench run --grid toy` makes them." in said


def test_a_score_that_is_unreliable_does_not_lead(store: Synthetic) -> None:
    store.put("normal", 0, 95.0)
    store.put(VAMP, 0, 94.0, half=0.1, unreliable="two bases differ")
    said = [finding.sentence for finding in findings(store.table())]
    assert said[1] == f"Lowest NLL so far: normal, 92.00 nats, without a verdict; unreliable, and left out: {VAMP}."


def test_where_more_is_better_the_highest_score_leads(mnist: Synthetic) -> None:
    store = type(mnist)(mnist.folder, settings=["headline.metric=accuracy"])
    for label, value in (("normal", 0.4), (VAMP, 0.6), (SSM, 0.5)):
        store.put(label, 0, scores=[Score(Metric("accuracy", "1", "higher"), value, 9, "exact", 0, 0, value, value)])
    said = [finding.sentence for finding in findings(store.table())]
    assert said[1].startswith(f"Highest accuracy so far: {VAMP}, 0.60")


def test_where_no_verdict_is_out_it_is_said_what_leads_where(toy: Synthetic) -> None:
    for dataset, better, worse in (
        ("checkerboard", "normal", "vampprior"),
        ("8-gaussians", "vampprior", "normal"),
        ("2-spirals", "vampprior", "normal"),
    ):
        for label, kl in ((better, 1.0), (worse, 2.0)):
            put(toy, label, 0, dataset, kl)
    text = " ".join(report(Records(toy.grid)).split())
    leading = "vampprior on 8-gaussians, 2-spirals; normal on checkerboard"
    assert f"Lowest KL from the data so far, without a verdict: {leading}." in text


def tuned_by(count: int, *seeds: int, change: float = -0.2, metric: Metric = VLB) -> str:
    """Return what is said of so many rows that tuning changed by two standard errors each, p = .0455.

    Args:
        count: of rows.
        seeds: of those that were tuned, and of those that were not.
        change: of the score.
        metric: of the score.
    """
    gain = Interval(change, change, change, Spread(0.1, math.inf), None, seeds)

    def side(label: str, count: int, **more: Any) -> SimpleNamespace:
        return SimpleNamespace(
            label=label,
            planned=count,
            missing=(),
            left=(),
            exact=False,
            finished=range(count),
            codes={"code"},
            plugins={"plugin"},
            seeds=lambda metric: range(count),
            trained=lambda metric: range(count),
            unreliable=lambda metric: False,
            **more,
        )

    def row(number: int) -> SimpleNamespace:
        label = f"row {number}"
        return side(
            label,
            seeds[0],
            ledger=SimpleNamespace(trials=8, seconds=60.0),
            gains={metric.name: gain},
            setting=SimpleNamespace(strategy=label),
            untuned=lambda rows: side(label, seeds[1]),
        )

    table: Any = SimpleNamespace(rows=[row(n) for n in range(count)], headline=metric, lead=None)
    (finding,) = _tuned(table)
    return finding.sentence


def test_what_tuning_gained_is_told_at_5_percent_for_all_rows_together() -> None:
    """As verdicts are: by Holm's method, and of three seeds or more."""
    assert "It improved VLB: row 0 by 0.20 nats [0.00, 0.40]." in tuned_by(1, 3, 3)
    assert "It is not shown to have improved VLB." in tuned_by(2, 3, 3)
    for seeds in ((2, 2), (3, 2), (2, 3)):
        assert "It is not shown to have improved VLB." in tuned_by(1, *seeds)


def test_what_tuning_made_worse_it_has_not_improved() -> None:
    assert "It is not shown to have improved VLB." in tuned_by(1, 3, 3, change=0.2)
    recall = Metric("recall", "1", "higher")
    assert "It improved recall: row 0 by 0.20" in tuned_by(1, 3, 3, change=0.2, metric=recall)
    assert "It is not shown to have improved recall." in tuned_by(1, 3, 3, change=-0.2, metric=recall)
