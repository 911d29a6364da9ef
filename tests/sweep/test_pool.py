"""The pool: real processes that crash, hang, print and are killed, and what is left of each cell."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from bench.sweep.attempts import LEASE, Ending, Job
from bench.sweep.feed import Feed
from bench.sweep.limits import Limits
from bench.sweep.live import Teller
from bench.sweep.pool import Pool, SweepError
from bench.sweep.screen import Screen, Tally
from bench.sweep.slots import Log, Slot, Work, ending, kills
from bench.sweep.status import Survey
from bench.sweep.store import Store
from bench.sweep.wire import Figures
from bench.sweep.worker import Setup
from tests.workers import workers

Look = Callable[..., Survey]


class Told(Screen):
    """A screen that remembers, and does something when a cell tells how far it is."""

    def __init__(
        self, advanced: Callable[[int], None] = lambda slot: None, then: Callable[[], None] = lambda: None
    ) -> None:
        self.notes: list[str] = []
        self.figures: list[Figures] = []
        self.begun: list[Job] = []
        self.lost: list[str] = []
        self.advanced, self.then = advanced, then

    def begin(self, slot: int, job: Job) -> None:
        self.begun.append(job)

    def advance(self, slot: int, figures: Figures) -> None:
        self.figures.append(figures)
        self.advanced(slot)

    def lose(self, slot: int, job: Job, reason: str) -> None:
        self.lost.append(reason)
        self.then()

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


def statuses(tally: Tally) -> dict[str, str]:
    """Return how each cell ended, by what it was told to do."""
    return {cell.hyper["how"]: ending.status for cell, ending in tally.endings}


def test_every_cell_leaves_one_record_whatever_becomes_of_its_process(look: Look, setup: Setup, store: Store) -> None:
    expected = {
        "ok": "ok",
        "killed": "crashed",
        "segfault": "crashed",
        "exit": "crashed",
        "raise": "error",
        "diverge": "diverged",
        "skip": "skipped",
        "memory": "out-of-memory",
    }
    tally = Pool(setup, 2, Told()).run(look(*expected, seeds=2).jobs())
    assert len(tally.endings) == 2 * len(expected)
    assert statuses(tally) == expected
    records = store.records()
    assert sorted((record.hyper["how"], record.status) for record in records) == sorted(2 * [*expected.items()])
    reasons = {record.hyper["how"]: record.reason for record in records}
    assert reasons["killed"] == "the process was killed by SIGKILL"
    assert reasons["segfault"] == "the process was killed by SIGSEGV"
    assert reasons["exit"] == "the process ended with exit code 7"
    crashed = next(record for record in records if record.status == "crashed")
    fine = next(record for record in records if record.status == "ok")
    assert vars(crashed).keys() == vars(fine).keys()
    assert not workers(psutil.Process())


def test_a_cell_that_takes_too_long_is_killed_and_the_others_go_on(look: Look, setup: Setup, store: Store) -> None:
    start = time.monotonic()
    tally = Pool(setup, 1, Told(), Limits(timeout=3)).run(look("hang", "deaf", "ok").jobs())
    assert statuses(tally) == {"hang": "timeout", "deaf": "timeout", "ok": "ok"}
    assert time.monotonic() - start < 20
    record = next(record for record in store.records() if record.status == "timeout")
    assert record.reason == "longer than 0.05 minutes"


@pytest.mark.parametrize("apart", [True, False])
def test_a_cell_that_ends_just_as_it_is_cut_short_has_ended_by_itself_and_the_others_go_on(
    look: Look, setup: Setup, store: Store, monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    """Its last word is read as its process is killed, whether other cells would have followed in that one or not."""

    class Late(Feed):
        def verdict(self, job: Job, seconds: float) -> str:
            ((slot, _),) = pool._busy
            slot.send(None)  # it ends in peace once it has said how its cell ended
            slot.process.join(60)
            return "worse than others"

    monkeypatch.setattr(Job, "apart", apart)
    pool = Pool(setup, 1, Told(), feed=Late())
    assert statuses(pool.run(look("ok", "diverge").jobs())) == {"ok": "ok", "diverge": "diverged"}
    assert sorted(record.status for record in store.records()) == ["diverged", "ok"]
    assert not workers(psutil.Process())


def test_output_goes_to_the_attempts_own_log(look: Look, setup: Setup, store: Store) -> None:
    jobs = look("loud", "raise", "segfault", lines=300).jobs()
    Pool(setup, 1, Told()).run(jobs)
    loud, wrong, dead = (store.log(job.cell.id, 1).read_text() for job in jobs)
    lines = loud.splitlines()
    assert lines[0] == "training as loud, seed 0"
    assert [line[:11] for line in lines[1:-1]] == [f"{number:07} xxx" for number in range(300)]
    assert lines[-1] == "scoring"
    assert "Traceback" in wrong
    assert "ValueError: a mistake" in wrong
    assert "loud" not in wrong
    assert dead.startswith("training as segfault, seed 0\n")
    assert "Segmentation fault" in dead


def test_a_log_keeps_beginning_and_end_of_too_much(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.txt", cap=2000)
    for line in range(1000):
        log.write(f"{line:09}\n".encode())
    log.close()
    text = (tmp_path / "log.txt").read_text()
    assert text.startswith("000000000\n")
    assert "\n[... 8,000 bytes left out ...]\n" in text
    assert text.endswith("000000998\n000000999\n")
    assert len(text) < 2100


def test_a_failed_cell_runs_again_only_when_asked_and_loses_nothing(look: Look, setup: Setup, store: Store) -> None:
    Pool(setup, 1, Told()).run(look("flaky", "diverge").jobs())
    found = look("flaky", "diverge")
    assert found.counts() == {"crashed": 1, "diverged": 1}
    assert found.jobs() == []
    again = found.jobs(retry=True)
    assert [job.cell.hyper["how"] for job in again] == ["flaky"]
    assert statuses(Pool(setup, 1, Told()).run(again)) == {"flaky": "ok"}
    job = again[0]
    record = store.record(job.cell.id, job.key)
    assert record is not None
    assert (record.status, record.attempt) == ("ok", 2)
    assert store.record_path(job.cell.id, job.key).with_suffix(".attempt-1.json").exists()
    assert store.log(job.cell.id, 2).exists()


def test_a_corrupt_record_is_set_aside_and_its_cell_runs_again(look: Look, setup: Setup, store: Store) -> None:
    job = look("ok").jobs()[0]
    Pool(setup, 1, Told()).run([job])
    path = store.record_path(job.cell.id, job.key)
    path.write_text(path.read_text()[:100])
    assert statuses(Pool(setup, 1, Told()).run(look("ok").jobs())) == {"ok": "ok"}
    assert [record.attempt for record in store.records()] == [2]
    assert path.with_suffix(".corrupt").exists()


def test_figures_of_running_cells_arrive(look: Look, setup: Setup) -> None:
    told = Told()
    Pool(setup, 1, told).run(look("long", seconds=0.6).jobs())
    assert told.figures
    assert all(figures.stage == "fit" and figures.total == 100 for figures in told.figures)


# ---------------------------------------------------------------- stopping


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_a_checkpoint_and_the_cell_goes_on_later(
    look: Look, setup: Setup, store: Store, number: signal.Signals
) -> None:
    told = Told(lambda slot: os.kill(os.getpid(), number) if not told.notes else None)
    before = signal.getsignal(number)
    tally = Pool(setup, 1, told).run(look("long", "ok", seconds=1.5).jobs())
    assert tally.signal == number
    assert statuses(tally) == {"long": "stopped"}
    assert told.notes == ["stopping: 1 running cell will save a checkpoint first (Ctrl-C again kills)"]
    assert store.records() == []
    assert signal.getsignal(number) is before
    assert not workers(psutil.Process())

    Pool(setup, 1, Told()).run(look("long", "ok", seconds=1.5).jobs())
    record = next(record for record in store.records() if record.hyper["how"] == "long")
    assert record.stability["resumed_at"] > 0
    assert record.attempt == 2


def test_a_second_signal_kills_and_records_nothing(look: Look, setup: Setup, store: Store) -> None:
    pool_told = Told()
    pool = Pool(setup, 1, pool_told)

    def interrupt() -> None:
        while not pool_told.begun:
            time.sleep(0.05)
        for _ in range(2):
            time.sleep(0.6)
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    tally = pool.run(look("hang").jobs())
    thread.join()
    assert [(ending.status, ending.reason) for _, ending in tally.endings] == [("stopped", "killed")]
    assert store.records() == []
    assert not workers(psutil.Process())


def test_workers_end_with_a_parent_that_is_killed(look: Look, setup: Setup, store: Store, tmp_path: Path) -> None:
    """Also while a worker sits in a call that lets no other thread run."""
    how = "deaf" if sys.platform == "linux" else "hang"
    jobs = look(how, seeds=2).jobs()
    with sweep(setup, how, seeds=2) as parent:
        wait_for(lambda: all(store.attempts(job.cell.id) for job in jobs))
        time.sleep(0.3)
        every = psutil.Process(parent.pid).children(recursive=True)
        assert len(workers(psutil.Process(parent.pid))) == 2
        parent.kill()
    psutil.wait_procs(every, timeout=5)
    assert [process for process in every if process.is_running()] == []
    assert store.records() == []
    assert look(how, seeds=2).counts() == {"missing": 2}
    assert not any(store.alive(job.cell.id, 1) for job in jobs)


def test_two_sweeps_on_one_store_share_the_cells(look: Look, setup: Setup, store: Store) -> None:
    jobs = look("long", seeds=6, seconds=0.4).jobs()
    with sweep(setup, "long", seeds=6, seconds=0.4) as other:
        wait_for(lambda: any(store.attempts(job.cell.id) for job in jobs))
        told = Told()
        tally = Pool(setup, 1, told).run(jobs)
        assert other.wait() == 0
    assert len(store.records()) == 6
    assert [store.attempts(job.cell.id) for job in jobs] == [1] * 6
    assert {ending.status for _, ending in tally.endings} == {"ok", "elsewhere"}
    assert len(told.notes) <= 1


@pytest.mark.parametrize("beat", [0.0, 1000.0])  # it is seen in between, or once our worker has come to its end
def test_a_cell_that_another_process_takes_over_is_waited_for(
    look: Look, setup: Setup, store: Store, monkeypatch: pytest.MonkeyPatch, beat: float
) -> None:
    monkeypatch.setattr("bench.sweep.pool.BEAT", beat)
    (job,) = look("long", seconds=1.0).jobs()
    others: list[subprocess.Popen[bytes]] = []
    taker: list[psutil.Process] = []  # they stand still until we have seen that the cell is theirs

    def pause(slot: int) -> None:
        """Let worker and heart stop for longer than a lease, as of a machine that is asleep."""
        if not others:
            (worker,) = workers(psutil.Process())
            worker.suspend()
            os.utime(store.cell(job.cell.id) / "attempt-1.json", (time.time() - LEASE - 5,) * 2)
            others.append(stack.enter_context(sweep(setup, "long", seeds=1, seconds=1.0)))
            wait_for(lambda: store.attempts(job.cell.id) == 2)
            other = psutil.Process(others[0].pid)
            taker.extend([other, *other.children(recursive=True)])
            for process in taker:
                process.suspend()
            stack.callback(go_on)
            worker.resume()

    def go_on() -> None:
        while taker:
            taker.pop().resume()

    told = Told(pause, go_on)
    with contextlib.ExitStack() as stack:
        tally = Pool(setup, 1, told).run([job])
        (record,) = store.records()
    assert [other.returncode for other in others] == [0]
    assert (record.status, record.attempt, store.attempts(job.cell.id)) == ("ok", 2, 2)
    assert told.lost == ["another process has taken it over"]
    assert [ending.status for _, ending in tally.endings] == ["elsewhere"]


def sweep(setup: Setup, how: str, seeds: int, seconds: float = 0.0) -> subprocess.Popen[bytes]:
    """Start a sweep of the same cells in a process of its own."""
    code = f"""
from pathlib import Path
import bench.grid as grids
from bench.plugins import Registry
from bench.sweep import pool, progress, status, store, worker

if __name__ == "__main__":
    registry = Registry([Path({str(Path(__file__).with_name("fakes"))!r})])
    source = {{
        "title": "fakes", "seeds": {seeds}, "dataset": [{{"name": "points"}}], "networks": {{"latent": 2}},
        "train": {{"epochs": 1}}, "evaluate": {{}},
        "strategy": [{{"name": "actor", "how": [{how!r}], "seconds": {seconds}}}],
    }}
    runs = store.Store(Path({str(setup.store)!r}))
    found = status.survey(grids.expand(source, registry, name="fakes", where="x"), runs, registry)
    setup = worker.Setup("fakes", runs.folder, registry, Path("."), "cpu", {{}})
    screen = progress.Lines(len(found.standings), lambda job: job.cell.id, lambda job: "")
    pool.Pool(setup, 2, screen).run(found.jobs())
"""
    script = setup.store.parent / "sweep.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(code)
    return subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        time.sleep(0.02)


# ---------------------------------------------------------------- what cannot go on


def test_a_store_that_becomes_unwritable_ends_the_sweep_with_a_sentence(look: Look, setup: Setup) -> None:
    with pytest.raises(SweepError, match=r"^the run store .* cannot be written \(Not a directory: "):
        Pool(setup, 1, Told()).run(look("no-store", "ok").jobs())
    assert not workers(psutil.Process())


def test_code_that_changes_ends_the_sweep_with_a_sentence(look: Look, setup: Setup, store: Store) -> None:
    jobs = look("ok").jobs()
    jobs = [replace(job, fingerprints=replace(job.fingerprints, fit="0" * 64)) for job in jobs]
    with pytest.raises(
        SweepError, match=r"^the code of strategy 'actor', data set 'points' or of what they use changed while"
    ):
        Pool(setup, 1, Told()).run(jobs)
    assert store.records() == []


def test_workers_that_never_start_are_given_up(look: Look, setup: Setup, tmp_path: Path) -> None:
    class Unloadable:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return os.listdir, (str(tmp_path / "gone"),)

    broken = replace(setup, circumstances={"what": Unloadable()})
    with pytest.raises(SweepError, match=r"^no worker process starts: the process ended with exit code 1"):
        Pool(broken, 1, Told()).run(look("ok").jobs())


# ---------------------------------------------------------------- how processes end


def test_a_process_whose_memory_ran_out_is_given_no_other_cell(look: Look, setup: Setup, store: Store) -> None:
    """Others carry out many cells of plugins that come with bench."""
    (job,) = look("ok").jobs()
    plugins = tuple(replace(plugin, origin="built-in") for plugin in job.cell.plugins)
    job = replace(job, cell=replace(job.cell, plugins=plugins))
    pool, slot = Pool(setup, 1, Told()), Slot(0, setup)
    pool._slots[0] = slot
    try:
        for status, kept in (("ok", True), ("error", True), ("out-of-memory", False)):
            attempt = store.begin(job.cell, "sweep")
            assert attempt is not None
            live = Teller(store.cell(job.cell.id), attempt.number)
            slot.work = Work(job, attempt, Log(store.log(job.cell.id, attempt.number)), None, live)
            pool._hear(slot, Ending(status))
            assert (0 in pool._slots) is kept, status
    finally:
        pool._close()
    assert [ending.status for _, ending in pool.tally.endings] == ["ok", "error", "out-of-memory"]


def test_how_processes_end_in_words() -> None:
    assert ending(-signal.SIGSEGV) == "the process was killed by SIGSEGV"
    assert ending(-99) == "the process was killed by signal 99"
    assert ending(3) == "the process ended with exit code 3"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts out-of-memory kills")
def test_the_system_says_how_many_processes_it_killed_for_lack_of_memory() -> None:
    count = kills()
    assert count is None or count >= 0


def test_what_a_worker_notes_is_said_on_the_screen_and_in_the_log(look: Look, setup: Setup, store: Store) -> None:
    job = look("ok").jobs()[0]
    folder = store.cell(job.cell.id) / job.workspace
    folder.mkdir(parents=True)
    (folder / f"state-{'0' * 64}.pt").write_bytes(b"something else")
    screen = Told()
    assert statuses(Pool(setup, 1, screen).run([job])) == {"ok": "ok"}
    (sentence,) = screen.notes
    assert sentence.endswith(f"it is set aside as state-{'0' * 64}.corrupt, and the cell is trained again")
    assert store.log(job.cell.id, 1).read_text().startswith(f"{sentence}\n")
