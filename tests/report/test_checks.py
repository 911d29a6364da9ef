"""Whether fresh records agree with the committed ones: what is named, and what is too little to tell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.protocol import Metric, Score, UserError
from bench.report import Records, agreement, sources, stored
from bench.report.parquet import write_items, write_parquet

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

VAMP = "vampprior[components=16]"


def commit(store: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a store's records those that come with bench."""
    folder = Path("committed").absolute()
    source = sources.of_grid(Records(store.grid, [store.folder], store.registry))
    write_parquet(source.frame, folder / "mnist.parquet")
    from bench.report.cells import outcomes

    write_items(stored.items(outcomes(source.frame), source.arrays), folder / "mnist-items.parquet")
    monkeypatch.setattr("bench.report.sources.results_folder", lambda: folder)


def three(store: Synthetic, label: str, value: float) -> None:
    for seed in range(3):
        store.put(label, seed, value + (seed - 1) / 10)


def test_what_differs_is_named_with_its_interval(mnist: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
    three(mnist, "normal", 96.0)
    three(mnist, VAMP, 95.3)
    commit(mnist, monkeypatch)
    fresh = type(mnist)(Path("fresh"))
    for seed in range(3):  # by .3, .1 and -.1, and 2 more: Student's 4.303 * .2 / sqrt(3) is .50
        fresh.put("normal", seed, 96.1 + (1 - seed) / 10)
        fresh.put(VAMP, seed, 97.3 + (1 - seed) / 10)
    text, agrees = agreement(Records("mnist", [Path("fresh")]))
    assert not agrees
    head, *lines = text.splitlines()
    # of each row both bounds; the published numbers of both models lie beside, of which one is off
    assert head == "Compared with 4 committed scores and 2 published numbers: 3 differ by more than chance explains."
    assert lines == [
        f"mnist, {VAMP}: VLB 97.30 nats, committed 95.30; difference +2.00 [+1.50, +2.50]",
        f"mnist, {VAMP}: NLL 94.30 nats, committed 92.30; difference +2.00 [+1.50, +2.50]",
        f"mnist, {VAMP}: VLB 97.30 [97.05, 97.55] nats, published 95.25",
    ]


def test_the_same_cells_are_compared_one_by_one(mnist: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
    three(mnist, "normal", 96.0)
    three(mnist, VAMP, 95.3)
    commit(mnist, monkeypatch)
    fresh = type(mnist)(Path("fresh"))
    three(fresh, "normal", 96.03)  # a third of the spread over seeds, and the same in each of them
    for seed in range(3):  # each way, as a training that is chaotic differs between machines
        fresh.put(VAMP, seed, 95.3 + (1 - seed) / 10)
    text, agrees = agreement(Records("mnist", [Path("fresh")]))
    assert not agrees
    assert text.splitlines()[1:] == [
        "mnist, normal: VLB 96.03 nats, committed 96.00; difference +0.03 [+0.03, +0.03]",
        "mnist, normal: NLL 93.03 nats, committed 93.00; difference +0.03 [+0.03, +0.03]",
    ]


def test_the_same_cells_were_scored_on_the_same_test_items(mnist: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose choice plays no part in how far they differ, though it does in a score that is no mean over them."""

    def put(store: Synthetic, value: float) -> None:
        for seed in range(3):
            own = value + seed / 10
            distance = Score(Metric("sliced_wasserstein", "1"), own, 100, "samples", 0.0, 9.0, own, own)
            store.put("normal", seed, scores=[distance])

    put(mnist, 1.0)
    commit(mnist, monkeypatch)
    put(type(mnist)(Path("fresh")), 1.5)
    text, agrees = agreement(Records("mnist", [Path("fresh")]))
    assert not agrees
    assert "mnist, normal: SW 1.600, committed 1.100; difference +0.500 [+0.500, +0.500]" in text.splitlines()


def test_other_seeds_are_compared_by_their_means(mnist: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (0, 1):
        mnist.put(VAMP, seed, 95.2 + seed / 10)
    commit(mnist, monkeypatch)
    fresh = type(mnist)(Path("fresh"))
    for seed in (1, 2):
        fresh.put(VAMP, seed, 97.2 + seed / 10)
    text, _ = agreement(Records("mnist", [Path("fresh")]))
    # Welch's 4.303 * .0707 is .30
    assert f"mnist, {VAMP}: VLB 97.35 nats, committed 95.25; difference +2.10 [+1.80, +2.40]" in text.splitlines()


def test_scores_differ_at_5_percent_for_all_comparisons_together(
    mnist: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(mnist, "normal", 96.0)
    commit(mnist, monkeypatch)
    fresh = type(mnist)(Path("fresh"))
    for seed in range(3):  # by .2, .3 and .4: t = 5.20 and p = .035 of either bound, twice that of both together
        fresh.put("normal", seed, 96.3 + (seed - 1) / 5)
    text, agrees = agreement(Records("mnist", [Path("fresh")]))
    assert text.startswith("Compared with 2 committed scores and 1 published number: none differ")
    assert agrees


def test_what_differs_by_less_than_is_printed_agrees(mnist: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
    three(mnist, "normal", 96.0)
    commit(mnist, monkeypatch)
    fresh = type(mnist)(Path("fresh"))
    three(fresh, "normal", 96.0 + 1e-6)
    assert agreement(Records("mnist", [Path("fresh")]))[1]


def test_what_agrees_is_said_as_well(mnist: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
    three(mnist, "normal", 96.0)
    commit(mnist, monkeypatch)
    text, agrees = agreement(Records("mnist", [mnist.folder]))
    assert agrees
    assert text == (
        "Compared with 2 committed scores and 1 published number: none differ by more than chance explains."
    )


def test_one_seed_is_not_compared(mnist: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
    three(mnist, "normal", 96.0)
    commit(mnist, monkeypatch)
    fresh = type(mnist)(Path("fresh"))
    fresh.put("normal", 0, 99.0)
    text, agrees = agreement(Records("mnist", [Path("fresh")]))
    assert agrees
    assert text.splitlines()[1] == "Not compared, since one seed cannot tell: mnist, normal"


def test_a_row_of_one_seed_hides_nothing_of_the_others(mnist: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
    three(mnist, "normal", 96.0)
    three(mnist, VAMP, 95.3)
    commit(mnist, monkeypatch)
    fresh = type(mnist)(Path("fresh"))
    fresh.put("normal", 0, 96.0)
    three(fresh, VAMP, 95.8)
    text, agrees = agreement(Records("mnist", [Path("fresh")]))
    assert not agrees
    assert text.splitlines()[-1] == "Not compared, since one seed cannot tell: mnist, normal"


def test_with_nothing_to_compare_it_says_so(mnist: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.report.sources.results_folder", lambda: Path("nowhere"))
    with pytest.raises(
        UserError, match=r"^--check: no record that comes with bench and no published number is of these"
    ):
        agreement(Records("mnist", [mnist.folder]))


def test_the_command_line_exits_with_1_where_something_differs(
    mnist: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from bench.cli import bench

    three(mnist, VAMP, 95.3)
    commit(mnist, monkeypatch)
    fresh = type(mnist)(Path("fresh"))
    three(fresh, VAMP, 97.3)
    found = {
        store: CliRunner().invoke(bench, ["report", "--grid", "mnist", "--store", store, "--check"])
        for store in ("runs/mnist", "fresh")
    }
    assert {store: result.exit_code for store, result in found.items()} == {"runs/mnist": 0, "fresh": 1}
    assert f"mnist, {VAMP}: VLB 97.30 nats, committed 95.30" in found["fresh"].output
    assert not Path("fresh/report").exists(), "it compares, and writes nothing"
