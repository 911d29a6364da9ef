"""Tables whose rows, metrics or data sets are not all of one kind: nothing is compared that cannot be."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.protocol import Metric, Score
from bench.report import Records, View, agreement, outputs, published, report, sources
from bench.report.figures import comparisons
from bench.report.findings import findings
from bench.report.layout import figure, layout
from bench.report.summary import pairs, summary
from bench.report.tables import Table, build
from bench.report.times import duration
from tests.report.test_checks import commit

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

SSM, VAMP = "sliced-score-matching", "vampprior[components=16]"


def of(metric: Metric, value: float) -> Score:
    return Score(metric, value, 100, "monte-carlo", 0.0, 0.001, value, value)


def put(store: Synthetic, label: str, *values: float, metric: Metric | None = None, **how: Any) -> None:
    """Write a record for each seed: of its VLB and NLL, and of another metric."""
    for seed, value in enumerate(values):
        if metric is None:
            store.put(label, seed, value, **how)
        else:
            store.put(label, seed, scores=[of(metric, value)], arrays={}, **how)


def made(store: Synthetic, **view: Any) -> Table:
    ((table, _),) = outputs.gathered(Records(store.grid, [store.folder], store.registry), View(**view)).tables
    return table


def said(table: Table) -> str:
    return " ".join(finding.sentence for finding in findings(table))


# ---------------------------------------------------------------- metrics


def test_the_margin_of_one_metric_is_none_of_another(mnist: Synthetic) -> None:
    store = type(mnist)(mnist.folder, settings=["headline.metric=nll", "headline.same_within.mnist=0.2"], seeds=3)
    for label in ("normal", SSM):
        put(store, label, 95.0, 95.001, 94.999)
    assert made(store).margin == 0.2
    assert "the same as normal within 0.2 nats" in said(made(store))
    other = made(store, metric="vlb")
    assert other.margin is None
    assert "within" not in said(other)


def test_scores_in_another_unit_or_direction_are_left_out_and_that_is_said(mnist: Synthetic) -> None:
    metres = Metric("length", "m")
    put(mnist, "normal", 1.0, 1.1, 1.2, metric=metres)
    put(mnist, SSM, 150.0, metric=Metric("length", "cm"))
    put(mnist, VAMP, 2.0, metric=Metric("length", "m", "higher"))
    table = mnist.table()
    assert table.metrics == (metres,)
    assert {row.label: [*row.scores] for row in table.rows if row.outcomes} == {"normal": ["length"], SSM: [], VAMP: []}
    notes = " ".join(table.notes)
    assert f"left out: length of {SSM}" in notes.replace("mnist ", "")
    assert "which is in cm instead of m" in notes
    assert "which is better higher instead of lower" in notes


def test_the_metric_of_the_verdicts_has_a_column(mnist: Synthetic) -> None:
    recall = Metric("recall", "1", "higher")
    for label, value in (("normal", 0.3), (SSM, 0.5)):
        for seed in range(3):
            vlb = Score(Metric("vlb", "nats"), 95.0, 100, "monte-carlo", 0.0, 0.1, 95.0, 95.0)
            mnist.put(label, seed, scores=[vlb, of(recall, value + seed / 100)])
    assert [metric.name for metric in made(mnist).shown] == ["vlb"]
    table = made(mnist, metric="recall")
    assert [metric.name for metric in table.shown] == ["vlb", "recall"]
    report(Records(mnist.grid, [mnist.folder], mnist.registry), Path("out"), View(metric="recall"))
    assert "recall" in Path("out/table.tex").read_text()


def test_pairs_have_no_verdicts_where_the_table_has_none(mnist: Synthetic) -> None:
    store = type(mnist)(mnist.folder, settings=["headline.metric=nll_ais"], seeds=3)
    for label, value in (("normal", 95.0), (SSM, 90.0)):
        put(store, label, value, value + 0.01, value + 0.02)
    table = made(store)
    assert table.headline is None
    (layout,) = pairs(table)
    assert [heading.text for heading in layout.headings] == ["strategy", "compared to", "difference"]
    assert [entry.text for entry in layout.rows[0]][2] == "-5.00"
    assert "Verdict" not in layout.caption


def test_data_sets_that_are_judged_by_other_metrics_are_told_apart(toy: Synthetic) -> None:
    toy = type(toy)(toy.folder, "toy", strategies=["normal", "vampprior"], settings={"headline.metric": ""}, seeds=3)
    kinds = {"8-gaussians": Metric("kl_data", "nats"), "checkerboard": Metric("nll", "nats")}
    for dataset, metric in kinds.items():
        for label, value in (("normal", 2.0), ("vampprior", 1.0)):
            put(toy, label, value, value + 0.001, value + 0.002, metric=metric, dataset=dataset)
    text = " ".join(report(Records(toy.grid)).split())
    assert "Better than normal in KL from the data: vampprior on 8-gaussians." in text
    assert "Better than normal in NLL: vampprior on checkerboard." in text
    assert "of its own settings" not in text


# ---------------------------------------------------------------- rows


TUNED = """
title = "Tuned"
seeds = 3
headline = { metric = "nll" }
dataset = [{ name = "digits", validation = 300 }]
evaluate = { ais_nll = { images = 0, simulated = 0 } }
"""
STRATEGY = """
[[strategy]]
name = "{name}"
train = {{ optimiser = {{ lr = 0.005 }} }}
[strategy.tuned]
study = "{name}"
trials = 20
seconds = 1.0
metric = "vlb"
best = 1
value = 1.0
chosen = {{ "train.optimiser.lr" = 0.005 }}
defaults = {{ "train.optimiser.lr" = 0.001 }}
space = {{ "train.optimiser.lr" = {{ low = 0.0001, high = 0.01, log = true }} }}
[[strategy]]
name = "{name}"
"""


def test_a_tuned_row_gains_over_its_own_strategy(mnist: Synthetic) -> None:
    """Two strategies without settings of their own differ in their names alone."""
    Path("tuned.toml").write_text(TUNED + "".join(STRATEGY.format(name=name) for name in ("normal", "gaussian")))
    store = type(mnist)(Path("runs/tuned"), "tuned.toml", strategies=())
    for label, value in (("normal[tuned]", 19.0), ("normal", 20.0), ("gaussian[tuned]", 32.0), ("gaussian", 30.0)):
        put(store, label, value, value + 0.1, value - 0.1)
    rows = {row.label: row for row in store.table("digits").rows}
    assert rows["gaussian[tuned]"].gains["nll"].mean == pytest.approx(2.0)
    alone = "vs normal: each row to the normal of its own settings"
    assert alone in layout(store.table("digits")).caption
    assert alone in summary(store.table("digits")).caption
    text = said(store.table("digits"))
    assert "It improved NLL: normal by 1.00 nats" in text
    assert "It made worse: gaussian by 2.00 nats" in text


def test_a_difference_to_a_single_seed_has_a_footnote(mnist: Synthetic) -> None:
    put(mnist, VAMP, 90.0, 93.0, 96.0)
    put(mnist, "normal", 95.0)
    for seed in (1, 2):
        mnist.put("normal", seed, status="diverged")
    lone = "differences are to a single seed, and their intervals over test items alone"
    assert lone in mnist.row(VAMP).marks
    assert lone not in mnist.row("normal").marks


def test_a_row_of_which_seeds_are_left_out_has_no_verdict(mnist: Synthetic) -> None:
    store = type(mnist)(mnist.folder, settings=["headline.metric=nll"], seeds=5)
    put(store, "normal", 95.0, 95.1, 95.2, 95.3, 95.4)
    put(store, SSM, 90.0, 90.1, 90.2)
    for seed in (3, 4):
        store.put(SSM, seed, 97.0, device="cuda:0", device_kind="NVIDIA A")
    row = next(row for row in store.table().rows if row.label == SSM)
    assert (row.planned, len(row.finished), row.missing, row.left) == (5, 3, (), (3, 4))
    assert row.verdict is not None
    assert row.verdict.words == "none: 2 of 5 seeds left out"
    assert "seeds 3, 4: left out, as the notes say" in row.marks


def test_more_seeds_of_one_row_than_of_others_are_said(mnist: Synthetic) -> None:
    for label in ("normal", SSM):
        put(mnist, label, 95.0, 95.1, 95.2)
    source = sources.of_grid(Records(mnist.grid, [mnist.folder], mnist.registry))
    planned = source.plan
    more = type(mnist)(mnist.folder, strategies=[SSM], seeds=5)
    for seed in (3, 4):
        more.put(SSM, seed, 95.0)
    records = sources.of_grid(Records(mnist.grid, [mnist.folder], mnist.registry))
    table = build("mnist", replace(records, plan=planned), published.read())
    assert f"{SSM}: 2 seeds more than the grid plans, and than other rows have" in " ".join(table.notes)


def test_an_extension_of_any_store_is_said(mnist: Synthetic) -> None:
    other = type(mnist)(Path("elsewhere"))
    mnist.store.extend((3, 5))
    for folders in ([mnist.folder, other.folder], [other.folder, mnist.folder]):
        source = sources.of_grid(Records(mnist.grid, folders, mnist.registry))
        assert source.plan.extended == (3, 5)


def test_a_row_whose_likelihood_is_exact_has_it_in_place_of_an_estimate(colour: Synthetic) -> None:
    bits = {name: Metric(name, "bits/dim") for name in ("vlb_bits", "nll_bits", "nll_ais_bits")}
    for seed in range(3):
        known = [
            replace(of(bits[name], 8.0), estimator="exact", stderr_images=0.0) for name in ("vlb_bits", "nll_bits")
        ]
        colour.put("uniform-pixels", seed, scores=known, arrays={})
        colour.put("normal", seed, scores=[of(bits[name], 6.5 + seed / 100) for name in bits], arrays={})
    table = colour.table("cifar10-subset")
    (row,) = [row for row in table.rows if row.label == "uniform-pixels"]
    assert row.verdict is not None
    assert row.verdict.words == "none: exact likelihood, no AIS-NLL"
    (line,) = [line for line in summary(table).rows if line[0].text == "uniform-pixels"]
    assert [entry.text for entry in line][2:4] == ["8.000", "-"]
    assert summary(table).caption.endswith(". Known exactly, and not by annealing: uniform-pixels.")
    assert "Without AIS-NLL: uniform-pixels." in comparisons._absent(table, [])


def test_published_numbers_sort_as_numbers_and_their_rows_lead_on(mnist: Synthetic) -> None:
    for label, value in (("normal", 95.0), (SSM, 93.0)):
        put(mnist, label, value, value + 0.1, value - 0.1)
    table = mnist.table()
    every = layout(table)
    places = [n for n, heading in enumerate(every.headings) if heading.text in ("published", "difference")]
    for line in every.rows[:1]:
        assert [line[n].sort for n in places] == pytest.approx([96.03, -1.03])
    report(Records(mnist.grid, [mnist.folder], mnist.registry), Path("out"), View(html=True))
    page = Path("out/index.html").read_text()
    linked = [
        tag for tag in re.findall(r"<th scope=row.*?</th>", page, re.DOTALL) if ">normal<" in tag and "<a " in tag
    ]
    assert len(linked) > 2, "in the summary, beside the published numbers, and in the table of every metric"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.0030, "rad", "0.003"), (0.00114, "rad", "0.00114"), (0.003, "nats", "0.00"), (12.345, "rad", "12.35")],
)
def test_small_numbers_of_other_units_keep_digits_that_count(value: float, unit: str, text: str) -> None:
    assert figure(value, unit) == text


@pytest.mark.parametrize(("seconds", "text"), [(99.6 * 60, "1.7 h"), (99.6 * 3600, "100 h"), (120 * 3600, "120 h")])
def test_long_times_are_written_out(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# ---------------------------------------------------------------- cost


def test_times_are_compared_on_the_same_data(toy: Synthetic) -> None:
    slow: dict[str, Any] = {"resources": {"fit_seconds": 6000.0}}
    for dataset in ("8-gaussians", "checkerboard"):
        for seed in range(3):
            how = {} if dataset == "8-gaussians" else slow
            toy.put("normal", seed, scores=[of(Metric("kl_data", "nats"), 2.0 + seed / 1000)], dataset=dataset, **how)
    for seed in range(3):
        kl = of(Metric("kl_data", "nats"), 1.0 + seed / 1000)
        toy.put("vampprior", seed, scores=[kl], dataset="8-gaussians")
    text = " ".join(report(Records(toy.grid)).split())
    assert "Training takes 10 s (normal on 8-gaussians) to 1.7 h (normal on checkerboard) a seed" in text
    assert "vampprior 1 times as long as normal" in text


@pytest.mark.draws
def test_an_unreliable_score_is_on_no_front(mnist: Synthetic) -> None:
    put(mnist, "normal", 95.0, 95.1, 95.2)
    put(mnist, VAMP, 96.0, 96.1, 96.2)
    put(mnist, SSM, 76.0, 76.1, 76.2, half=0.1, unreliable="two bases differ")
    drawing = comparisons.cost(mnist.table())
    assert drawing is not None
    assert f"Unreliable, and on no line: {SSM}." in drawing.caption
    assert "normal has the best score, and none is quicker." in drawing.caption


# ---------------------------------------------------------------- committed records


def test_seeds_on_both_sides_alone_are_compared(mnist: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
    """The committed mean of all ten would differ by eight."""
    many = type(mnist)(mnist.folder, seeds=10)
    put(many, "normal", 100.0, 100.1, *[90.0] * 8)
    commit(many, monkeypatch)
    fresh = type(mnist)(Path("fresh"), seeds=2)
    put(fresh, "normal", 101.0, 101.1)
    text, agrees = agreement(Records("mnist", [Path("fresh")]))
    assert not agrees
    assert "mnist, normal: VLB 101.05 nats, committed 100.05; difference +1.00 [+1.00, +1.00]" in text
