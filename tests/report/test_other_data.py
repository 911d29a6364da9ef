"""Records of data that changed, and of data sets whose options make other arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic


def test_a_cell_that_is_left_out_is_not_said_to_have_no_record(mnist: Synthetic) -> None:
    """A sweep takes it for finished, so that the command that makes missing cells would run nothing."""
    mnist.put("normal", 0, 94.0, sha256="a" * 64)
    mnist.put("normal", 1, 95.0)
    mnist.put("normal", 2, 95.0, device="cuda:0", device_kind="NVIDIA H100")
    row = mnist.row("normal")
    assert (list(row.outcomes), row.missing) == ([1], ())


def test_other_options_of_a_data_set_make_other_data_and_both_are_shown(mnist: Synthetic) -> None:
    store = type(mnist)(mnist.folder, settings=["dataset.mnist.validation=[0, 5000]"])
    rows = {row.label: row for row in store.table().rows}
    first, second = (label for label in rows if label.startswith("normal["))
    for label, digest in ((first, "a" * 64), (second, "b" * 64)):
        for seed in range(3):
            store.put(label, seed, 95.0 + seed, sha256=digest)
    table = store.table()
    assert {row.label: len(row.outcomes) for row in table.rows if row.outcomes} == {first: 3, second: 3}
    assert not [note for note in table.notes if "other data" in note]
