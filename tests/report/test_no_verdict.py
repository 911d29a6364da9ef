"""Where there is no verdict, the reason is said."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import bench
from bench.protocol import Metric, Score
from bench.report import Records, published
from bench.report.formats import comma_separated
from bench.report.layout import layout
from bench.report.sources import of_grid
from bench.report.tables import build

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic
from tests.report.test_verdicts import AS_ONE, SSM, VAMP, WIDE, judged, put, verdict


@pytest.mark.parametrize("label", ["normal", SSM])
def test_before_all_planned_seeds_are_final_a_verdict_is_preliminary(mnist: Synthetic, label: str) -> None:
    store = judged(mnist, seeds=5)
    for each, value in (("normal", 95.0), (SSM, 80.0)):
        put(store, each, value, (0, 1, 2) if each == label else (0, 1, 2, 3, 4))
    whose = "normal: " if label == "normal" else ""
    assert verdict(store).words == f"preliminary, {whose}3 of 5 seeds"
    assert (verdict(store).kind, verdict(store).p) == ("none", None)
    put(store, label, 95.0 if label == "normal" else 80.0, (3, 4))
    assert verdict(store).words == "better"


@pytest.mark.parametrize("seeds", [1, 2])
def test_below_three_seeds_there_is_no_verdict(mnist: Synthetic, seeds: int) -> None:
    store = judged(mnist, seeds=seeds)
    for label, value in (("normal", 95.0), (SSM, 80.0)):
        put(store, label, value, range(seeds))
    assert store.row(SSM).differences["nll"].excludes_zero
    assert verdict(store).words == f"none below 3 seeds ({seeds} planned)"
    assert verdict(store).kind == "none"


@pytest.mark.parametrize("label", ["normal", SSM])
def test_failed_seeds_are_said_beside_a_verdict(mnist: Synthetic, label: str) -> None:
    store = judged(mnist, seeds=5)
    for each, value in (("normal", 95.0), (SSM, 80.0)):
        put(store, each, value, range(4))
        if each == label:
            store.put(each, 4, status="diverged")
        else:
            put(store, each, value, [4])
    whose = "normal: " if label == "normal" else ""
    assert verdict(store).words == f"better ({whose}4 of 5 finished)"


@pytest.mark.parametrize("label", ["normal", SSM])
def test_fewer_than_three_seeds_that_finished_are_no_basis(mnist: Synthetic, label: str) -> None:
    store = judged(mnist)
    for each, value in (("normal", 95.0), (SSM, 80.0)):
        put(store, each, value, (0, 1))
        if each == label:
            store.put(each, 2, status="diverged")
        else:
            put(store, each, value, [2])
    whose = "normal: " if label == "normal" else ""
    assert verdict(store).words == f"none below 3 seeds ({whose}2 of 3 finished)"


@pytest.mark.parametrize("label", ["normal", SSM])
@pytest.mark.parametrize("without", [1, 2])
def test_seeds_without_a_score_of_the_headline_metric_do_not_count(mnist: Synthetic, label: str, without: int) -> None:
    """As where an estimate of some seeds could not be had: what is left may be chosen by what it shows."""
    store = judged(mnist, seeds=4)
    for each, value in (("normal", 95.0), (SSM, 80.0)):
        kept = range(4 - without) if each == label else range(4)
        put(store, each, value, kept)
        for seed in set(range(4)) - set(kept):
            store.put(each, seed, scores=[Score(Metric("vlb", "nats"), value, 9, "monte-carlo", 0, 0.4, value, value)])
    whose = "normal: " if label == "normal" else ""
    expected = {
        1: f"better ({whose}3 of 4 scored)",
        2: f"none below 3 seeds ({whose}2 of 4 scored)",
    }
    assert verdict(store).words == expected[without]


def test_a_row_without_any_score_of_the_headline_metric_says_so(mnist: Synthetic) -> None:
    store = judged(mnist)
    put(store, "normal", 95.0)
    for seed in range(3):
        store.put(SSM, seed, scores=[Score(Metric("vlb", "nats"), 80.0, 9, "monte-carlo", 0, 0.4, 80.0, 80.0)])
    assert verdict(store).words == "none below 3 seeds (0 of 3 scored)"
    lines = csv.DictReader(io.StringIO(comma_separated([store.table()])))
    said = {line["metric"]: line["verdict"] for line in lines if line["row"] == SSM}
    assert said == {"vlb": "", "nll": "none below 3 seeds (0 of 3 scored)"}


@pytest.mark.parametrize("label", ["normal", SSM])
@pytest.mark.parametrize(
    ("blemish", "why"),
    [
        ({"half": 0.1, "unreliable": "two bases differ"}, "unreliable"),
        ({"vlb": float("nan")}, "unreliable"),
        ({"vlb": float("inf")}, "unreliable"),
    ],
)
def test_an_unreliable_row_has_no_verdict(mnist: Synthetic, label: str, blemish: dict[str, Any], why: str) -> None:
    store = judged(mnist, seeds=4)
    for each, value in (("normal", 95.0), (SSM, 80.0)):
        put(store, each, value)
        store.put(each, 3, **{"vlb": value, **(blemish if each == label else {})})
    whose = "normal: " if label == "normal" else ""
    assert (verdict(store).kind, verdict(store).words) == ("none", f"none: {whose}{why}")


@pytest.mark.parametrize("mark", ["fit", "evaluate"])
@pytest.mark.parametrize("label", ["normal", SSM])
def test_records_of_different_code_of_bench_are_not_compared(mnist: Synthetic, label: str, mark: str) -> None:
    store = judged(mnist)
    for each, value in (("normal", 95.0), (SSM, 80.0)):
        put(store, each, value, code={mark: "0" * 64} if each == label else {})
    assert verdict(store).words == "none: not all made with the same code of bench"
    same = judged(type(mnist)(Path("runs/same")))
    for each, value in (("normal", 95.0), (SSM, 80.0)):
        put(same, each, value, code={mark: "0" * 64})
    assert verdict(same).words == "better"


@pytest.mark.parametrize("mark", ["fit", "evaluate"])
def test_records_of_code_that_gives_the_same_numbers_are_compared_and_not_stale(
    mnist: Synthetic, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, zeros = getattr(mnist.code(mnist.cell("normal", 0)), mark), "0" * 64
    monkeypatch.setattr("bench.sweep.fingerprints._equal", lambda: {zeros: now})
    store = judged(mnist)
    for each, value in (("normal", 95.0), (SSM, 80.0)):
        put(store, each, value, code={mark: zeros} if each == SSM else {})
    assert verdict(store).words == "better"
    assert store.row(SSM).marks == store.row("normal").marks


@pytest.mark.parametrize("mark", ["fit", "evaluate"])
@pytest.mark.parametrize("label", ["normal", SSM])
@pytest.mark.parametrize("other", [1, 3])
def test_seeds_of_different_code_of_bench_have_no_verdict(mnist: Synthetic, label: str, mark: str, other: int) -> None:
    store = judged(mnist, seeds=4)
    for each, value in (("normal", 95.0), (SSM, 80.0)):
        for seed in range(4):
            store.put(each, seed, value, code={mark: "0" * 64} if (each, seed) == (label, other) else {})
    assert verdict(store).words == "none: not all made with the same code of bench"


@pytest.mark.parametrize("label", ["normal", SSM])
def test_seeds_of_different_code_of_a_plugin_have_no_verdict(mnist: Synthetic, label: str) -> None:
    store = judged(mnist, seeds=4)
    for each, value in (("normal", 95.0), (SSM, 80.0)):
        put(store, each, value)
        store.put(each, 3, value, code={"plugin": "0" * 64} if each == label else {})
    whose = "normal: " if label == "normal" else ""
    assert verdict(store).words == f"none: {whose}seeds made with different code of its plugins"
    same = judged(type(mnist)(Path("runs/same")))
    for each, value in (("normal", 95.0), (SSM, 80.0)):
        put(same, each, value, code={"plugin": "0" * 64} if each == label else {})
    assert verdict(same).words == "better", "two strategies are two plugins"


def test_a_metric_without_a_better_direction_has_no_verdict(mnist: Synthetic) -> None:
    store = judged(mnist)
    kl = Metric("kl", "nats", "neither")
    for label, value in (("normal", 20.0), (SSM, 10.0)):
        for seed in range(3):
            own = value + AS_ONE[seed]
            store.put(label, seed, scores=[Score(kl, own, 9, "monte-carlo", 0, 0.4, own, own)])
    store.grid = type(mnist)(Path("runs/kl"), settings=["headline.metric=kl"]).grid
    assert verdict(store).words == "none: neither direction of kl is better"


@pytest.mark.parametrize(
    ("metric", "hint"),
    [
        ("nll_ais", '; did you mean "nll"?'),
        ("vbl", '; did you mean "vlb"?'),
        ("zzzzzzzz", "; there are vlb, nll"),
    ],
)
def test_without_scores_of_the_headline_metric_a_note_says_so(mnist: Synthetic, metric: str, hint: str) -> None:
    store = type(mnist)(mnist.folder, settings=[f"headline.metric={metric}"])
    for label, value in (("normal", 95.0), (SSM, 80.0)):
        put(store, label, value)
    made = store.table()
    assert f'no verdicts: no record has the grid\'s headline metric "{metric}"{hint}' in made.notes
    assert made.headline is None
    assert all(row.verdict is None for row in made.rows)
    assert "Verdict" not in made.caption
    assert not any(entry.bold for row in layout(made).rows for entry in row)


def test_a_grid_without_headline_is_judged_by_the_nearest_to_a_likelihood(mnist: Synthetic) -> None:
    store = type(mnist)(mnist.folder, settings=['headline.metric=""'])
    put(store, "normal", 95.0)
    assert store.table().headline is None  # nothing to compare yet
    put(store, SSM, 80.0)
    assert store.table().headline == Metric("nll", "nats")


BOUND = "an upper bound whose bias differs between strategies"


def test_a_verdict_by_a_bound_says_that_it_may_be_on_its_bias(mnist: Synthetic) -> None:
    store = judged(mnist)
    put(store, "normal", 95.0)
    put(store, SSM, 80.0)
    made = type(mnist)(mnist.folder, settings=["headline.metric=nll"]).table()
    assert made.headline == Metric("nll", "nats")
    assert f"verdicts are by NLL, {BOUND}: they may be on that bias" in made.notes
    assert not any("bias" in note for note in type(mnist)(mnist.folder, settings=["headline.metric=vlb"]).table().notes)


def test_no_verdict_is_by_a_bound_where_the_likelihood_was_annealed(mnist: Synthetic) -> None:
    store = type(mnist)(mnist.folder, settings=["headline.metric=nll"])
    for label, value in (("normal", 95.0), (SSM, 80.0)):
        for seed in range(3):
            own = value + AS_ONE[seed]
            scores = [Score(Metric(name, "nats"), own, 9, "ais", 0, 0.4, own, own) for name in ("nll", "nll_ais")]
            store.put(label, seed, scores=scores)
    made = store.table()
    assert f'no verdicts: NLL, the grid\'s headline metric, is {BOUND}; "nll_ais" ranks them' in made.notes
    assert made.headline is None
    assert all(row.verdict is None for row in made.rows)
    free = type(mnist)(mnist.folder, settings=['headline.metric=""']).table()
    assert free.headline == Metric("nll_ais", "nats")
    assert not any("bias" in note for note in free.notes)


def test_the_verdict_follows_the_baseline_that_is_asked_for(mnist: Synthetic) -> None:
    store = judged(mnist)
    put(store, "normal", 95.0)
    put(store, SSM, 93.0)
    source = of_grid(Records(store.grid, [store.folder], store.registry))
    made = build("mnist", source, published.read(), baseline=SSM)
    found = {row.label: row.verdict.kind for row in made.rows if row.verdict}
    assert (found["normal"], found[SSM]) == ("worse", "baseline")


def test_of_several_rows_of_the_baselines_strategy_the_first_is_compared_to(mnist: Synthetic) -> None:
    store = judged(mnist)
    for label, value in (("normal", 95.0), (VAMP, 94.0), (WIDE, 93.0)):
        put(store, label, value)
    source = of_grid(Records(store.grid, [store.folder], store.registry))
    made = build("mnist", source, published.read(), baseline="vampprior")
    found = {row.label: row.verdict.kind for row in made.rows if row.verdict}
    assert (found["normal"], found[VAMP], found[WIDE]) == ("worse", "baseline", "better")


def test_the_python_interface_gives_the_verdicts_of_the_table(mnist: Synthetic) -> None:
    store = judged(mnist)
    put(store, "normal", 95.0)
    alone = bench.results(store.folder).table()
    assert set(alone["metric"]) == {"nll"}, "with or without a comparison"
    put(store, SSM, 93.0)
    table = bench.results(store.folder).table().set_index("strategy")
    assert table.loc[["normal", SSM, VAMP], "verdict"].tolist() == ["baseline", "better", "preliminary, 0 of 3 seeds"]
    assert table.loc[SSM, "p"] == verdict(store).p
    assert bench.results(store.folder).table("vlb")["verdict"].unique().tolist() == [""]
