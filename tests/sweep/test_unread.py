"""What cannot be read is not what is damaged: it stays where it is, and is tried again."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import files
from bench.sweep.pool import Pool, SweepError
from bench.sweep.record import CorruptRecord
from bench.sweep.screen import Screen
from bench.sweep.status import Survey
from bench.sweep.storage import StoreError
from bench.sweep.store import Store
from bench.sweep.wire import Halt
from bench.sweep.worker import Setup, Worker

Look = Callable[..., Survey]
Failing = Callable[..., None]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Let reads of files whose names begin so fail, so many times, with a number of the system's."""

    def failing(beginning: str, number: int, times: int = 1000) -> None:
        left, read = [times], files.read

        def fails(path: str | Path, *arguments: Any, **options: Any) -> bytes:
            if Path(path).name.startswith(beginning) and left[0]:
                left[0] -= 1
                raise OSError(number, os.strerror(number), str(path))
            return read(path, *arguments, **options)

        monkeypatch.setattr(files, "read", fails)

    monkeypatch.setattr(files, "PAUSES", (0.0, 0.0))
    return failing


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT])
def test_what_cannot_be_read_for_a_moment_is_read_again(tmp_path: Path, failing: Failing, number: int) -> None:
    path = files.save_tensors(tmp_path, "state", {"step": 3})
    notes: list[str] = []
    failing("state-", number, times=2)
    assert files.latest(tmp_path, "state", notes.append, "") == (path, {"step": 3})
    assert notes == []


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EACCES])
def test_what_cannot_be_read_stays_where_it_is(tmp_path: Path, failing: Failing, number: int) -> None:
    path = files.save_tensors(tmp_path, "state", {"step": 3})
    before = path.read_bytes()
    notes: list[str] = []
    failing("state-", number)
    with pytest.raises(files.Unread, match=os.strerror(number)) as told:
        files.latest(tmp_path, "state", notes.append, "")
    assert (told.value.errno, told.value.filename, notes) == (number, str(path), [])
    assert [(file, file.read_bytes()) for file in tmp_path.iterdir()] == [(path, before)]


@pytest.mark.skipif(sys.platform != "linux", reason="a file that can be opened and not be read")
def test_an_error_within_a_file_names_it() -> None:
    with pytest.raises(OSError, match="Input/output error") as told:
        files.read("/proc/self/mem")
    assert told.value.filename == "/proc/self/mem"


def test_checkpoints_that_go_meanwhile_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = files.save_tensors(tmp_path, "checkpoint-1", {"step": 1})
    read, later = files.read, list[Path]()

    def rotated(path: str | Path, *arguments: Any) -> bytes:
        if not later:
            later.append(files.save_tensors(tmp_path, "checkpoint-2", {"step": 2}))
            first.unlink()
        return read(path, *arguments)

    monkeypatch.setattr(files, "read", rotated)
    notes: list[str] = []
    assert files.latest(tmp_path, "checkpoint-", notes.append, "") == (later[0], {"step": 2})
    assert (notes, list(tmp_path.iterdir())) == ([], later)


def test_one_that_goes_while_it_is_set_aside_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = files.save_tensors(tmp_path, "checkpoint-1", {"step": 1})
    path.write_bytes(b"damaged")
    aside = files.set_aside

    def gone(path: Path, suffix: str) -> Path:
        path.unlink()
        return aside(path, suffix)

    monkeypatch.setattr(files, "set_aside", gone)
    assert files.latest(tmp_path, "checkpoint-", print, "") is None


@pytest.mark.parametrize("odd", ["folder", "pipe", "socket", "loop", "nowhere"])
def test_what_is_no_file_is_no_state_and_no_record(tmp_path: Path, look: Look, store: Store, odd: str) -> None:
    def put(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if odd == "folder":
            path.mkdir()
        elif odd == "pipe":
            os.mkfifo(path)
        elif odd == "socket":
            place = os.getcwd()
            os.chdir(path.parent)  # its path has to be short
            try:
                with socket.socket(socket.AF_UNIX) as bound:
                    bound.bind("s")
                Path("s").rename(path.name)
            finally:
                os.chdir(place)
        else:
            path.symlink_to(path.name if odd == "loop" else "nowhere")

    early = files.save_tensors(tmp_path / "states", "state", {"step": 3})
    last = early.with_name(f"state-{'f' * 64}.pt")
    put(last)
    assert files.latest(tmp_path / "states", "state", print, "") == (early, {"step": 3})
    assert last.with_suffix(".corrupt").is_symlink() or odd == "nowhere" or last.with_suffix(".corrupt").exists()

    job = look("ok").jobs()[0]
    put(record := store.record_path(job.cell.id, job.key))
    if odd == "nowhere":
        assert store.record(job.cell.id, job.key) is None
        return
    with pytest.raises(CorruptRecord):
        store.record(job.cell.id, job.key)
    assert not store.taken(job)
    store.vacate(job)
    assert not os.path.lexists(record)


# ---------------------------------------------------------------- what comes of it in a sweep


@pytest.fixture
def trained(look: Look, setup: Setup, store: Store) -> Path:
    """A cell that is trained and scored; its state."""
    job = look("ok").jobs()[0]
    Worker(setup).carry_out(job)
    (path,) = files.sealed(store.cell(job.cell.id) / job.workspace, "state")
    return path


def test_a_record_that_cannot_be_read_stops_the_sweep_and_stays(
    look: Look, setup: Setup, store: Store, trained: Path, failing: Failing
) -> None:
    failing("record-", errno.ESTALE)
    (job,) = look("ok").jobs()  # it cannot be read: what is to be done about it, whoever carries it out finds out
    before = sorted(path.name for path in store.cell(job.cell.id).iterdir())
    sentence = rf"^the run store {store.folder} cannot be read \(Stale file handle: .*/record-{job.key}\.json\)$"
    for act in (store.taken, store.vacate):
        with pytest.raises(StoreError, match=sentence):
            act(job)
    with pytest.raises(SweepError, match=sentence):
        Pool(setup, 1, Screen()).run([job])
    assert sorted(path.name for path in store.cell(job.cell.id).iterdir()) == before


@pytest.mark.parametrize("number", [errno.EIO, errno.ETIMEDOUT])
def test_a_state_that_cannot_be_read_stops_the_sweep_and_stays(
    look: Look, setup: Setup, store: Store, trained: Path, failing: Failing, number: int
) -> None:
    job = look("ok", evaluate={"importance_samples": 7}).jobs()[0]
    why = rf"^the run store {store.folder} cannot be read \({os.strerror(number)}: {trained}\)$"
    failing("state-", number)
    with pytest.raises(StoreError, match=why):
        look("ok", evaluate={"importance_samples": 7}).rescored()
    halt = Worker(setup).carry_out(job)
    assert isinstance(halt, Halt)
    assert store.storage.at_fault(store.cell(job.cell.id), halt.errno)
    assert trained.exists()
    assert len(store.records()) == 1
    assert halt.sentence == f"the run store {store.folder} cannot be read ({os.strerror(number)}: {trained})"


def test_a_state_that_goes_while_it_is_looked_at_is_none(
    look: Look, store: Store, trained: Path, failing: Failing
) -> None:
    failing("state-", errno.ENOENT)
    assert look("ok", evaluate={"importance_samples": 7}).rescored() == []
