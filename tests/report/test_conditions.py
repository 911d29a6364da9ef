"""What a table says of how its models were trained, and on which split they were scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench.protocol import Evaluation
from bench.report import Records, published, sources
from bench.report.summary import summary
from bench.report.tables import build
from bench.report.terms import glossary
from bench.sweep.columns import canonical
from tests.report.conftest import Synthetic


def three(store: Synthetic, label: str, values: Sequence[float]) -> None:
    for seed, value in enumerate(values):
        store.put(label, seed, value)


WAYS = {
    "train.schedule": {"kind": "step", "share": 0.2, "epochs": 3, "warmup": 1},
    "train.clip": {"encoder": 150},
    "train.average": {"decay": 0.999},
    "train.warmup": {"epochs": 5},
}


def test_schedule_clipping_averaging_and_warm_up_are_recorded_captioned_and_no_published_protocol(here: Path) -> None:
    annealed = Synthetic(Path("runs/mnist"), settings=WAYS)
    three(annealed, "normal", [95.0, 96.0, 97.0])
    made = annealed.table()
    assert (
        "In training, the learning rate of encoder and decoder rises for 1 epoch and is 0.2 times its full value in"
        " the last 3 epochs; gradient norms are clipped: encoder at 150.0; scores are of the moving average of the"
        " weights (decay 0.999); the weight of the KL term rises to 1 over 5 epochs"
    ) in made.conditions
    (row,) = (row for row in made.rows if row.label == "normal")
    assert row.comparison is None
    for record in row.outcomes.values():
        assert record.schedule == WAYS["train.schedule"]
        assert record.clip == {"encoder": 150, "decoder": None}
        assert (record.averaging, record.warmup) == (WAYS["train.average"], WAYS["train.warmup"])


def test_a_cosine_schedule_is_captioned_and_what_is_off_is_not(here: Path) -> None:
    falling = Synthetic(
        Path("runs/falling"), settings={"train.schedule": {"kind": "cosine", "share": 0}, "train.clip": 9}
    )
    three(falling, "normal", [95.0, 96.0])
    said = "; ".join(falling.table().conditions)
    assert (
        "learning rate of encoder and decoder falls by a cosine to 0.0 times its full value until the last step;"
        in said
    )
    assert "clipped: encoder at 9.0 and decoder at 9.0" in said
    plain = Synthetic(Path("runs/plain"))
    three(plain, "normal", [95.0, 96.0])
    assert "In training" not in "; ".join(plain.table().conditions)
    assert plain.row("normal").comparison is not None


def test_a_table_says_which_split_it_shows_and_published_numbers_stand_beside_test_scores_alone(
    mnist: Synthetic,
) -> None:
    three(mnist, "normal", [95.0, 96.0, 97.0])
    made = mnist.table()
    assert "over trainings and test items" in made.caption
    assert any(sentence.startswith("Scored on all test items") for sentence in made.conditions)
    assert mnist.row("normal").comparison is not None
    validated = Evaluation(**mnist.grid.cells[0].evaluation.model_dump() | {"split": "validation"})
    for seed, value in enumerate([85.0, 86.0, 87.0]):
        mnist.put("normal", seed, value, evaluation=validated, split="validation")
    source = sources.of_grid(Records(mnist.grid, [mnist.folder], mnist.registry))
    source = replace(source, evaluation=canonical(validated.model_dump(mode="json")))
    made = build("mnist", source, published.read())
    assert "over trainings and validation items" in made.caption
    assert any(sentence.startswith("Scored on all validation items") for sentence in made.conditions)
    (row,) = (row for row in made.rows if row.outcomes)
    assert {outcome.split for outcome in row.outcomes.values()} == {"validation"}
    assert row.scores["vlb"].mean == pytest.approx(86)
    assert row.number is None
    left_out = "left out: 3 cells with evaluate.split = test instead of validation; --all-settings (with --grid"
    assert any(note.startswith(left_out) for note in made.notes)


def test_an_interval_of_a_single_seed_is_not_over_trainings(mnist: Synthetic) -> None:
    judged = type(mnist)(mnist.folder, settings=["headline.metric=vlb"])
    judged.put("normal", 0, 95.0)
    table = judged.table()
    for said in (table.caption, summary(table).caption):
        assert "95 % intervals over test items, of one training each" in said
    assert summary(table).caption.startswith("VLB: minus the variational bound (ELBO); lower is better.")
    meaning = dict(glossary([table], ["vlb"]))["[a, b]"]
    assert meaning.endswith("; of a single seed it says nothing of other trainings")
    three(judged, "sliced-score-matching", [95.0, 96.0, 97.0])
    assert "95 % intervals over trainings and test items" in judged.table().caption


def test_with_all_settings_the_splits_are_rows_of_their_own(mnist: Synthetic) -> None:
    three(mnist, "normal", [95.0, 96.0, 97.0])
    validated = Evaluation(**mnist.grid.cells[0].evaluation.model_dump() | {"split": "validation"})
    mnist.put("normal", 0, 85.0, evaluation=validated, split="validation")
    source = replace(sources.of_grid(Records(mnist.grid, [mnist.folder], mnist.registry)), all_settings=True)
    rows = [row for row in build("mnist", source, published.read()).rows if row.outcomes]
    assert [{outcome.split for outcome in row.outcomes.values()} for row in rows] in (
        [{"test"}, {"validation"}],
        [{"validation"}, {"test"}],
    )
    assert {row.label for row in rows if row.outcomes[0].split == "validation"} == {
        "normal (evaluate.split=validation)"
    }


def test_epochs_of_training_that_ended_early_are_said(here: Path) -> None:
    settings = {"train.early_stopping": {"patience": 5}, "dataset.mnist.validation": 1000}
    early = Synthetic(Path("runs/early"), settings=settings)
    for seed, epochs in enumerate((41.0, 55.0)):
        early.put("normal", seed, 95.0, resources={"epochs": epochs})
    early.put("vampprior[components=16]", 0, 95.0, resources={"epochs": 60.0})
    assert (
        "Training ended after 5 epochs without a better validation bound, and kept the best state; epochs used, a seed"
        " each: normal 41, 55; vampprior[components=16] 60"
    ) in early.table().conditions
