"""What was scored lies on disk, and nothing that was altered on disk is read as if it were what was written."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import files
from bench.protocol import UserError
from bench.report.stored import collect, curves
from bench.sweep.attempts import Ending, Job
from bench.sweep.circumstances import provenance
from bench.sweep.record import CorruptRecord, Gone, Point, Record
from bench.sweep.status import Survey
from bench.sweep.store import Store
from bench.sweep.wire import Note
from bench.sweep.worker import Setup, Worker

Look = Callable[..., Survey]
PLACES = 200


def damages(path: Path, seed: int = 0) -> Iterator[int]:
    """Damage a file at 200 random places, one after another: a bit flips, or, every other time, it ends there."""
    whole, draw = path.read_bytes(), random.Random(seed)
    for number in range(PLACES):
        place = draw.randrange(len(whole))
        flipped = bytes([whole[place] ^ 1 << draw.randrange(8)])
        path.write_bytes(whole[:place] + (flipped + whole[place + 1 :] if number % 2 else b""))
        yield place
    path.write_bytes(whole)


def put(look: Look, store: Store, how: str = "ok") -> tuple[Job, Record]:
    """Write a record with everything beside it, and its state."""
    job = look(how).jobs()[0]
    state = {"modules": {"prior": {"w": torch.arange(8.0)}}, "steps": 4, "curves": [], "stability": {}, "resources": {}}
    path = files.save_tensors(store.cell(job.cell.id) / job.workspace, "state", state)
    digests = {"state": path.stem.partition("-")[2]}
    record = job.record("fakes", provenance("cpu"), "ok", digests=digests)
    points = [Point(epoch=n, step=n, metric="bound", value=0.5 * n) for n in range(20)]
    assert store.finish(job, record, points, {"vlb": np.arange(16, dtype=np.float32)})
    written = store.record(job.cell.id, job.key)
    assert written is not None
    return job, written


def test_a_damaged_record_is_never_read(look: Look, store: Store) -> None:
    job, record = put(look, store)
    path = store.record_path(job.cell.id, job.key)
    for _ in damages(path):
        with pytest.raises(CorruptRecord):
            store.record(job.cell.id, job.key)
    assert store.record(job.cell.id, job.key) == record


@pytest.mark.parametrize("part", ["arrays", "curves"])
def test_damaged_arrays_and_curves_are_never_read_and_the_report_says_so(look: Look, store: Store, part: str) -> None:
    job, record = put(look, store)
    path = next(store.cell(job.cell.id).glob(f"{part}-*"))
    for _ in damages(path):
        with pytest.raises(CorruptRecord, match="it is cut short or altered: its SHA-256 is not the one in its record"):
            store.beside(record, job.key, part)
    assert store.beside(record, job.key, part) == path.read_bytes()

    path.write_bytes(b"other")
    corrupt: list[str] = []
    assert len(collect([store.folder], corrupt=corrupt)) == 1
    assert corrupt == [f"corrupt {part} {path}: it is cut short or altered: its SHA-256 is not the one in its record"]
    assert len(curves([store.folder], [])) == (0 if part == "curves" else 20)


@pytest.mark.parametrize("part", ["arrays", "curves"])
def test_what_is_gone_beside_records_is_said_in_one_sentence_a_store(look: Look, store: Store, part: str) -> None:
    job, record = put(look, store)
    path = next(store.cell(job.cell.id).glob(f"{part}-*"))
    path.unlink()
    with pytest.raises(Gone):
        store.beside(record, job.key, part)
    corrupt: list[str] = []
    assert len(collect([store.folder], corrupt=corrupt)) == 1
    assert corrupt == [f"gone: {path}"]
    with pytest.raises(UserError, match=f"^gone: {re.escape(str(path))}$"):
        collect([store.folder])

    put(look, store, "loud")
    for other in store.folder.glob(f"cells/*/{part}-*"):
        other.unlink()
    corrupt.clear()
    assert len(collect([store.folder], corrupt=corrupt)) == 2
    (sentence,) = corrupt
    assert sentence.startswith(f"gone: the {part} of 2 records in {store.folder}, such as {part}-")


def test_arrays_of_an_attempt_that_left_no_record_are_not_those_of_a_later_one(look: Look, store: Store) -> None:
    job = look("ok").jobs()[0]
    assert store.finish(job, job.record("fakes", provenance("cpu"), "error"))
    store.record_path(job.cell.id, job.key).with_name(f"arrays-{job.key}.npz").write_bytes(b"left over")
    (record,) = store.records()
    assert store.beside(record, job.key, "arrays") is None


def test_a_damaged_state_is_never_read(look: Look, store: Store) -> None:
    job, record = put(look, store)
    (path,) = files.sealed(store.cell(job.cell.id) / job.workspace, "state")
    for _ in damages(path):
        assert not store.trained(job)
        with pytest.raises(UserError, match="is cut short or altered"):
            store.state(record)
    assert store.trained(job)
    assert torch.equal(store.state(record)["modules"]["prior"]["w"], torch.arange(8.0))
    path.unlink()
    with pytest.raises(UserError, match=f"^the state of cell {job.cell.id} .* is gone: there is no .*state-"):
        store.state(record)
    with pytest.raises(UserError, match="its record names no place in a run store"):
        store.state(record.model_copy(update={"cell": "../../elsewhere"}))
    with pytest.raises(UserError, match=r"was not kept: its status is 'ok'$"):
        store.state(record.model_copy(update={"digests": {}}))


def test_a_damaged_checkpoint_is_never_read(tmp_path: Path) -> None:
    before = files.save_tensors(tmp_path, "checkpoint-000000000005", {"step": 5})
    path = files.save_tensors(tmp_path, "checkpoint-000000000010", {"step": 10, "w": torch.arange(8.0)})
    notes: list[str] = []
    for _ in damages(path):
        latest = files.latest(tmp_path, "checkpoint-", notes.append, "training goes on")
        assert latest == (before, {"step": 5})
    assert len(notes) == PLACES
    assert notes[0].startswith(f"{path} is cut short or altered: its SHA-256 is not the one in its name; it is set")


# ---------------------------------------------------------------- a cell goes on from its state


def test_a_cell_stopped_between_training_and_scoring_is_not_trained_again(
    look: Look, setup: Setup, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    job = look("walk").jobs()[0]
    asked = iter([False] * 100)
    stopped = Worker(setup).carry_out(job, stop_requested=lambda: next(asked, True))
    assert isinstance(stopped, Ending)
    assert (stopped.status, stopped.reason) == ("stopped", "between training and scoring")
    assert store.trained(job)
    assert [again.cell.id for again in look("walk").rescored()] == [job.cell.id]
    capsys.readouterr()
    Worker(setup).carry_out(job)
    assert "training" not in capsys.readouterr().out
    (record,) = store.records()
    state = store.state(record)
    assert (record.status, record.last_step, record.stability) == ("ok", 100, state["stability"])
    assert record.scores[0].value == state["stability"]["place"]
    assert state["curves"] == [{"epoch": 0, "step": 4, "metric": "bound", "value": 1.5}]
    assert record.resources["fit_seconds"] == state["resources"]["fit_seconds"] > 0


def test_a_state_takes_the_place_of_checkpoints_also_those_of_stages(look: Look, setup: Setup, store: Store) -> None:
    job = look("ok").jobs()[0]
    folder = store.cell(job.cell.id) / job.workspace
    for place in (folder, folder / "stage"):
        files.save_tensors(place, "checkpoint-000000000001", {})
    Worker(setup).carry_out(job)
    assert [path.name[:6] for path in folder.rglob("*.pt")] == ["state-"]


def test_a_damaged_state_is_set_aside_and_said_and_the_cell_trained_again(
    look: Look, setup: Setup, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    job = look("ok").jobs()[0]
    Worker(setup).carry_out(job)
    (path,) = files.sealed(store.cell(job.cell.id) / job.workspace, "state")
    path.write_bytes(path.read_bytes()[:-1])
    store.record_path(job.cell.id, job.key).unlink()
    capsys.readouterr()
    heard: list[Any] = []
    Worker(setup).carry_out(job, heard.append)
    (sentence,) = [message.sentence for message in heard if isinstance(message, Note)]
    aside = path.with_suffix(".corrupt")
    assert sentence.endswith(f"it is set aside as {aside.name}, and the cell is trained again")
    assert aside.exists()
    assert capsys.readouterr().out.startswith(f"{sentence}\ntraining as ok")
    assert store.records()[0].status == "ok"


def test_a_record_says_how_often_its_cell_was_interrupted(look: Look, store: Store) -> None:
    job = look("ok").jobs()[0]
    for how in ("error", "lost", "stopped", ""):
        attempt = store.begin(job.cell, "sweep")
        assert attempt is not None
        if how:
            store.end(job.cell.id, attempt, how)
    job = replace(job, attempt=4)
    store.finish(job, job.record("fakes", provenance("cpu"), "ok"))
    assert store.records()[0].restarts == 2
