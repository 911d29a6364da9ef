"""Records of other grids are in a table, and its caption says how they were made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.protocol import Metric, Score
from bench.report.layout import layout

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic
from tests.report.test_tables import NO_HEADLINE, bits, three


def test_a_grid_that_is_not_in_table_2_has_no_published_columns(mnist: Synthetic) -> None:
    digits = type(mnist)(mnist.folder.with_name("digits"), "digits")
    for seed in (0, 1):
        digits.put("normal", seed, 20.0 + seed)
        digits.put("sliced-score-matching", seed, 19.0 + seed)
    made = digits.table("digits")
    assert made.title == "8x8 digits"
    assert [heading.text for heading in layout(made).headings] == [
        "strategy",
        "seeds",
        "VLB, nats",
        "VLB vs normal",
        "NLL, nats",
        "NLL vs normal",
    ]
    assert made.notes == (NO_HEADLINE,)
    assert (made.others, made.references) == ((), ())
    assert "ublished" not in " ".join([made.caption, *made.conditions, *made.notes])


def test_metrics_without_a_heading_of_their_own_are_shown_where_there_is_no_bound(mnist: Synthetic) -> None:
    distance = Metric("distance", "pixels", "lower")
    for seed in (0, 1):
        mnist.put("normal", seed, scores=[Score(distance, 2.0 + seed, 9, "exact", 0.0, 0.1, 2.0 + seed, 2.0 + seed)])
    assert [heading.text for heading in layout(mnist.table()).headings] == ["strategy", "seeds", "distance, pixels"]


def test_annealed_likelihoods_have_columns_of_their_own_where_they_are_there(mnist: Synthetic) -> None:
    three(mnist, "sliced-score-matching", [95.0, 95.1, 95.2])
    before = [heading.text for heading in layout(mnist.table()).headings]
    annealed = Metric("nll_ais", "nats")
    for label, value in (("normal", 86.0), ("vampprior[components=16]", 85.0)):
        for seed in range(3):
            values = (("vlb", 95.0 + seed), ("nll", 89.0 + seed), ("nll_ais", value + seed))
            scores = [Score(Metric(name, "nats"), each, 200, "ais", 0.0, 0.1, each, each) for name, each in values]
            mnist.put(label, seed, scores=scores)
    made = mnist.table()
    headings = [heading.text for heading in layout(made).headings]
    assert headings[-3:] == ["AIS-NLL, nats", "AIS-NLL vs normal", "verdict"]
    assert not any("AIS" in heading for heading in before)
    assert mnist.row("vampprior[components=16]").differences[annealed.name].mean == pytest.approx(-1)
    assert "AIS-NLL: by annealing, the first 200 items" in "; ".join(made.conditions)
    assert "NLL is an upper bound whose bias differs between strategies; it ranks nothing" in made.conditions
    *_, annealed_alone, last = layout(made).cut(4)
    assert [heading.text for heading in annealed_alone.headings] == ["strategy", headings[-3]]
    assert [heading.text for heading in last.headings] == ["strategy", *headings[-2:]]


def test_of_how_many_items_annealing_is_and_of_how_many_the_score_is_said(mnist: Synthetic) -> None:
    for seed in range(3):
        annealed = Score(Metric("nll_ais", "nats", version=2), 86.0, 10_000, "ais-control-variate", 0, 0.1, 86.0, 86.0)
        mnist.put("normal", seed, scores=[annealed])
    assert (
        "Scored on all test items; AIS-NLL: all of these, by annealing of 200 of them; the NLL of the others is"
        " corrected by it"
    ) in mnist.table().conditions


def test_an_exact_nll_is_no_bound(colour: Synthetic) -> None:
    colour.put("uniform-pixels", 0, scores=bits(8.0))
    assert not any("upper bound" in sentence for sentence in colour.table("cifar10-subset").conditions)


def test_the_caption_fits_two_lines_and_the_conditions_say_the_rest(mnist: Synthetic) -> None:
    judged = type(mnist)(mnist.folder, settings=["headline.metric=nll"])
    three(judged, "normal", [95.0, 95.1, 95.2])
    three(judged, "sliced-score-matching", [94.0, 94.1, 94.2], half=0.1)
    made = judged.table()
    assert made.caption == (
        "VLB, NLL in nats; lower is better. In brackets: 95 % intervals over trainings and test items."
        " Verdicts are by NLL and hold at 5 % for all 3 comparisons together."
    )
    assert made.conditions == (
        "Trained for 100 epochs, batches of 64, 64 latent dimensions",
        "Scored on all test items; VLB: 10 posterior samples; NLL: importance-weighted, S = 1000",
        "NLL is an upper bound whose bias differs between strategies; it ranks nothing",
        "log Z is by AIS (at most 10000 temperatures x 500 chains x 5 repeats) in sliced-score-matching;"
        " intervals hold how far it may be off, which no number of seeds narrows",
        "Made with torch 2.13.0 on cpu, commit 0123456789",
        "Difference is ours minus published; inside: the published number lies within our interval ± 0.1 (the paper's"
        " binarisation of the test images is another draw); too wide to tell: that is over ± 1 nats",
        "Published: Variational Inference with Unnormalized Priors, Table 2",
    )


def test_the_conditions_hold_nothing_that_rows_differ_in(mnist: Synthetic) -> None:
    swept = type(mnist)(mnist.folder, settings=["train.epochs=[3, 100]"], seeds=1)
    swept.put("normal[train.epochs=3]", 0, 95.0)
    swept.put("normal[train.epochs=100]", 0, 95.0)
    assert swept.table().conditions[0] == "Trained for batches of 64, 64 latent dimensions"
