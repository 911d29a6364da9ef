"""Verdicts: what a comparison to the baseline comes to, why there is none, and how often verdicts are wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

import bench.grid as grids
from bench.protocol import Metric, Score
from bench.report import Records, report
from bench.report.layout import layout
from bench.report.summary import pairs
from bench.report.tables import Table
from bench.report.verdicts import Verdict
from bench.sweep.status import survey

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

VAMP, SSM, WIDE = "vampprior[components=16]", "sliced-score-matching", "vampprior[components=500]"
AS_ONE = [0.0, 0.01, 0.02, 0.03, 0.04]  # what seeds are apart


def judged(store: Synthetic, *settings: str, seeds: int = 3, **changes: Any) -> Synthetic:
    """Return the store with a grid of three strategies whose headline metric is the NLL."""
    return type(store)(store.folder, settings=["headline.metric=nll", *settings], seeds=seeds, **changes)


def put(store: Synthetic, label: str, value: float, seeds: Sequence[int] = (0, 1, 2), **how: Any) -> None:
    for seed in seeds:
        store.put(label, seed, value + AS_ONE[seed], **how)


def verdict(store: Synthetic, label: str = SSM) -> Verdict:
    made = store.row(label).verdict
    assert made is not None
    return made


# ---------------------------------------------------------------- each verdict


def test_better_and_worse_are_marked_alike(mnist: Synthetic) -> None:
    store = judged(mnist)
    for label, value in (("normal", 95.0), (SSM, 93.0), (VAMP, 97.0)):
        put(store, label, value)
    for seed in range(3):
        store.put(WIDE, seed, 95.0 + (seed - 1) / 2)  # +-1.3 or so
    made = store.table()
    found = {row.label: row.verdict for row in made.rows}
    assert {label: (v.kind, v.words, v.marked) for label, v in found.items() if v} == {
        "normal": ("baseline", "baseline", False),
        SSM: ("better", "better", True),
        VAMP: ("worse", "worse", True),
        WIDE: ("undecided", "undecided", False),
    }
    headings = [heading.text for heading in layout(made).headings]
    place = headings.index("NLL vs normal")
    assert headings[place + 1] == "verdict"
    entries = {row[0].text: row for row in layout(made).rows}
    assert {label: entries[label][place].bold for label in found} == {
        "normal": False,
        VAMP: True,
        WIDE: False,
        SSM: True,
    }
    assert [entry.text for entry in entries[SSM] if entry.bold] == ["-2.00"], "the headline metric's difference alone"
    text = report(Records(store.grid, [store.folder]), Path("out"))
    assert "▲ better" in text
    assert "▼ worse" in text
    csv = Path("out/table.csv").read_text()
    assert "bold" not in csv.splitlines()[0]


def test_where_more_is_better_the_higher_one_is_better(mnist: Synthetic) -> None:
    store = type(mnist)(mnist.folder, settings=["headline.metric=accuracy"])
    for label, value in (("normal", 0.5), (SSM, 0.6), (VAMP, 0.4)):
        for seed in range(3):
            own = value + AS_ONE[seed] / 10
            store.put(label, seed, scores=[Score(Metric("accuracy", "", "higher"), own, 9, "exact", 0, 0, own, own)])
    assert (verdict(store, SSM).kind, verdict(store, VAMP).kind) == ("better", "worse")


@pytest.mark.parametrize(
    ("shift", "margin", "kind", "words"),
    [
        # s = .01 on either side, so that the standard error is .01 sqrt(2 / 3) = .00816 at 4 degrees of freedom: of the
        # 95 % interval .0227, of the 90 % interval .0174, and Holm counts three comparisons
        (0.005, 0.2, "same", "same within 0.2"),
        (0.005, 0.01, "undecided", "undecided"),
        (0.005, None, "undecided", "undecided"),
        # 2.60 standard errors inside: p = .030, and three times that of all three, two of which have not run yet
        (0.0, 0.0212, "undecided", "undecided"),
        (-0.1, 0.2, "better", "better, by less than 0.2"),
        (0.1, 0.2, "worse", "worse, by less than 0.2"),
        (-0.1, 0.09, "better", "better"),
        (-0.1, None, "better", "better"),
        (0.0, 0.2, "same", "same within 0.2"),
    ],
)
def test_the_margin_says_what_is_the_same(
    mnist: Synthetic, shift: float, margin: float | None, kind: str, words: str
) -> None:
    store = type(mnist)(mnist.folder)
    same_within = {"mnist": margin} if margin else {}
    source = store.grid.source | {"headline": {"metric": "nll", "same_within": same_within}}
    store.grid = grids.expand(source, store.registry, name="mnist", where="grid")
    put(store, "normal", 95.0)
    put(store, SSM, 95.0 + shift)
    assert (verdict(store).kind, verdict(store).words) == (kind, words)


def test_log_z_counts_in_a_verdict(mnist: Synthetic) -> None:
    store = judged(mnist, "headline.same_within.mnist=1.5")
    put(store, "normal", 95.0)
    put(store, SSM, 93.0, half=0.5)
    assert verdict(store).words == "better"
    close = judged(type(mnist)(Path("runs/close")), "headline.same_within.mnist=1.5")
    put(close, "normal", 95.0)
    put(close, SSM, 94.0, half=0.99)
    assert verdict(close).words == "undecided"  # the ends are -1.99 and -.01: neither inside 1.5 nor without 0
    put(close, VAMP, 94.0)
    assert verdict(close, VAMP).words == "better, by less than 1.5"


def test_an_interval_of_log_z_that_reaches_zero_decides_nothing(mnist: Synthetic) -> None:
    store = judged(mnist)
    put(store, "normal", 95.0)
    put(store, SSM, 94.0, half=1.0)
    row = store.row(SSM)
    assert row.differences["nll"].upper > 0
    assert (verdict(store).kind, verdict(store).p) == ("undecided", 1.0)


def test_p_is_adjusted_for_all_comparisons_of_the_table_those_that_cannot_be_made_yet_included(
    mnist: Synthetic,
) -> None:
    store = judged(mnist)
    put(store, "normal", 95.0)
    put(store, SSM, 94.97)
    alone = store.row(SSM).differences["nll"]
    expected = 2 * stats.t.sf(0.03 / (0.01 * math.sqrt(2 / 3)), 4)
    assert alone.p == pytest.approx(expected, rel=1e-3)
    assert alone.excludes_zero
    # of three comparisons two have not run yet: 3 x .0213 is above 5 %
    assert verdict(store).p == pytest.approx(3 * expected, rel=1e-3)
    assert verdict(store).words == "same within 0.2"
    assert "hold at 5 % for all 3 comparisons together" in store.table().caption
    put(store, VAMP, 90.0)
    assert verdict(store, VAMP).kind == "better"
    assert verdict(store, SSM).p == pytest.approx(2 * expected, rel=1e-3)
    assert verdict(store, SSM).words == "better, by less than 0.2"


def test_only_the_headline_metric_has_a_verdict(mnist: Synthetic) -> None:
    store = judged(mnist)
    put(store, "normal", 95.0)
    for seed in range(3):
        values = {"vlb": 80.0 + AS_ONE[seed], "nll": 92.0 + AS_ONE[seed]}
        scores = [Score(Metric(n, "nats"), v, 9, "monte-carlo", 0, 0.4, v, v) for n, v in values.items()]
        store.put(SSM, seed, scores=scores, arrays={n: np.full(100, v) for n, v in values.items()})
    made = store.table()
    assert store.row(SSM).differences["vlb"].excludes_zero
    assert verdict(store).words == "same within 0.2"
    assert [heading.text for heading in layout(made).headings].count("verdict") == 1
    assert not any(entry.bold for row in layout(made).rows for entry in row)
    assert "Verdicts are by NLL and hold" in made.caption


def test_every_row_is_compared_within_its_own_conditions_and_all_are_one_family(mnist: Synthetic) -> None:
    swept = judged(mnist, "train.epochs=[3, 100]")
    for epochs, worse in ((3, 10.0), (100, 0.0)):
        put(swept, f"normal[train.epochs={epochs}]", 95.0 + worse)
        put(swept, f"vampprior[components=16,train.epochs={epochs}]", 93.0 + worse)
    made = swept.table()
    assert [row.verdict.kind for row in made.rows if row.verdict and "=16" in row.label] == ["better", "better"]
    assert [row.verdict.kind for row in made.rows if row.verdict and "normal" in row.label] == ["baseline"] * 2
    assert "for all 6 comparisons together" in made.caption


def test_pairs_of_rows_without_a_record_yet_are_of_the_same_family(mnist: Synthetic) -> None:
    store = judged(mnist)
    for label, value in (("normal", 95.0), (SSM, 93.0)):
        put(store, label, value)
    (made,) = pairs(store.table())
    assert len(made.rows) == 1
    assert "for all 6 comparisons together" in made.caption


# ---------------------------------------------------------------- plans that were extended


def extended(store: Synthetic, first: int, final: dict[str, int], last: int = 5) -> Table:
    """Return the table after `first` seeds were planned, so many of each strategy became final, and `last` planned."""
    earlier = judged(store, seeds=first)
    for label, seeds in final.items():
        put(earlier, label, 95.0, range(seeds))
    grid = earlier.grid
    later = judged(type(store)(Path("runs/later")), seeds=last)
    found = survey(later.grid, earlier.store, store.registry).extends()
    earlier.store.write_grid(later.grid.source)
    if found:
        earlier.store.extend(found)
    assert grid.headline == later.grid.headline
    earlier.grid = later.grid
    return earlier.table()


SAID = "the plan was extended from 3 to 5 seeds after verdicts on 3 could be seen"


@pytest.mark.parametrize(
    ("first", "final", "said"),
    [
        (3, {"normal": 3, SSM: 3}, True),
        (3, {"normal": 3, SSM: 3, VAMP: 1}, True),
        (3, {"normal": 3, SSM: 2}, False),  # one strategy alone is compared to nothing
        (3, {"normal": 2, SSM: 2}, False),
        (3, {}, False),
        (2, {"normal": 2, SSM: 2}, False),  # on which there is no verdict
        (5, {"normal": 5, SSM: 5}, False),
    ],
)
def test_an_extension_after_verdicts_could_be_seen_is_said(
    mnist: Synthetic, first: int, final: dict[str, int], said: bool
) -> None:
    made = extended(mnist, first, final)
    assert any(sentence.startswith(SAID) for sentence in made.notes) == said
    assert any("extended" in sentence for sentence in made.notes) == said


def test_an_extension_after_a_failed_seed_is_said(mnist: Synthetic) -> None:
    """A seed that failed is final: the verdict is on the others."""
    judged(mnist, seeds=3).put(SSM, 2, status="diverged")
    made = extended(mnist, 3, {"normal": 3, SSM: 2})
    assert any(sentence.startswith(SAID) for sentence in made.notes)


def test_a_second_extension_keeps_the_first_number(mnist: Synthetic) -> None:
    extended(mnist, 3, {"normal": 3, SSM: 3})
    mnist.store.extend((5, 8))
    assert mnist.store.extended() == (3, 8)
