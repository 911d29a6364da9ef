"""The server that workers for the CPU are forked from: what reaches them, and what becomes of cells without it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import bench
from bench.sweep import processes
from bench.sweep.attempts import Job
from bench.sweep.limits import Limits
from bench.sweep.pool import Pool, SweepError
from bench.sweep.screen import Screen
from bench.sweep.status import Survey
from bench.sweep.store import Store
from bench.sweep.wire import Figures
from bench.sweep.worker import Setup
from tests.walks import walked
from tests.workers import servers

Look = Callable[..., Survey]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each worker starts afresh")


class Once(Screen):
    """A screen that does something once, when a cell first tells how far it is."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act, self.done = act, False
        self.lost: list[str] = []

    def advance(self, slot: int, figures: Figures) -> None:
        if not self.done:
            self.done = True
            self.act()

    def lose(self, slot: int, job: Job, reason: str) -> None:
        self.lost.append(reason)


def kill_servers() -> None:
    for server in servers(psutil.Process()):
        server.kill()  # and leave it to `multiprocessing` to wait for it


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        time.sleep(0.02)


# ---------------------------------------------------------------- what reaches workers


def test_a_variable_that_is_set_after_the_first_sweep_reaches_the_workers_of_the_next(
    look: Look, setup: Setup, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("A_WORD", raising=False)
    first, second = look("tell", seeds=2).jobs()
    Pool(setup, 1, Screen()).run([first])
    monkeypatch.setenv("A_WORD", "late")
    Pool(setup, 1, Screen()).run([second])
    logs = [store.log(job.cell.id, 1).read_text() for job in (first, second)]
    assert "word None, " in logs[0]
    assert "word late, " in logs[1]


def test_the_server_has_no_thread_that_a_fork_would_leave_behind(look: Look, setup: Setup) -> None:
    Pool(setup, 1, Screen()).run(look("ok").jobs())
    (server,) = servers(psutil.Process())
    names = [file.read_text().strip() for file in Path(f"/proc/{server.pid}/task").glob("*/comm")]
    # scikit-learn imports Arrow, whose allocator takes its own thread through a fork
    assert len([name for name in names if name != "jemalloc_bg_thd"]) == 1


def test_workers_run_the_bench_of_their_parent_wherever_it_was_found(setup: Setup, tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    for folder in ("bench", "strategies", "datasets"):
        source = Path(bench.__file__).parents[1] / folder
        shutil.copytree(source, home / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(Path(bench.__file__).parents[1] / "pyproject.toml", home)
    with Sweep(setup, "tell", path=home) as sweep:
        assert sweep.wait() == 0
    logs = [log.read_text() for log in setup.store.glob("cells/*/log-1.txt")]
    assert len(logs) == 2
    assert all(f"bench in {home}\n" in log for log in logs)


# ---------------------------------------------------------------- without it


def test_cells_whose_server_is_killed_go_on_in_workers_of_another(look: Look, setup: Setup, store: Store) -> None:
    screen = Once(kill_servers)
    jobs = look("walk", seeds=4, seconds=1).jobs()
    Pool(setup, 2, screen, Limits(retries=1)).run(jobs)
    assert [record.status for record in store.records()] == ["ok"] * 4
    history = [[attempt.how for attempt in store.history(job.cell.id)] for job in jobs]
    assert ["lost", "ok"] in history
    assert all(how in (["ok"], ["lost", "ok"]) for how in history)
    assert 1 <= len(screen.lost) <= 2
    assert any(record.stability["resumed_at"] > 0 for record in store.records())
    assert {record.seed: record.scores[0].value for record in store.records()} == {n: walked(n) for n in range(4)}


@pytest.fixture
def _no_server(tmp_path: Path) -> Iterator[None]:
    """Let a test start its own, and the next test, too."""
    kill_servers()
    yield
    kill_servers()


@pytest.mark.usefixtures("_no_server")
def test_a_server_that_cannot_load_libraries_ends_the_sweep_with_a_sentence(
    look: Look, setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "library_that_ends_all.py").write_text("import os; os._exit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(processes, "LIBRARIES", ("library_that_ends_all",))
    with pytest.raises(SweepError, match=r"^no worker process starts: "):
        Pool(setup, 1, Screen()).run(look("ok").jobs())


@pytest.mark.usefixtures("_no_server")
def test_a_second_signal_ends_a_sweep_whose_server_never_gets_ready(
    look: Look, setup: Setup, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "library_that_hangs.py").write_text("import time; time.sleep(1000)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(processes, "LIBRARIES", ("library_that_hangs",))

    def interrupt() -> None:
        for _ in range(2):
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        Pool(setup, 1, Screen()).run(look("ok").jobs())
    thread.join()
    assert not store.attempts(look("ok").jobs()[0].cell.id)


# ---------------------------------------------------------------- signals to all


class Sweep(subprocess.Popen[bytes]):
    """A sweep of two seeds in a process group of its own."""

    def __init__(self, setup: Setup, how: str, seconds: float = 0.0, path: Path | None = None) -> None:
        code = f"""
            import sys
            sys.path[:0] = {[str(path)] if path else []!r}
            from pathlib import Path
            import bench.grid as grids
            from bench.plugins import Registry
            from bench.sweep import pool, processes, screen, status, store, worker

            processes.LIBRARIES = ()  # which take seconds to load, and are not needed here
            registry = Registry([Path({str(Path(__file__).with_name("fakes"))!r})])
            source = {{
                "title": "fakes", "seeds": 2, "dataset": [{{"name": "points"}}], "networks": {{"latent": 2}},
                "train": {{"epochs": 1}}, "evaluate": {{}},
                "strategy": [{{"name": "actor", "how": [{how!r}], "seconds": {seconds}}}],
            }}
            runs = store.Store(Path({str(setup.store)!r}))
            survey = status.survey(grids.expand(source, registry, name="fakes", where="x"), runs, registry)
            setup = worker.Setup("fakes", runs.folder, registry, Path("."), "cpu", {{}})
            sys.exit(pool.Pool(setup, 2, screen.Screen()).run(survey.jobs()).signal or 0)
        """
        script = setup.store.parent / "sweep.py"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(textwrap.dedent(code))
        environment = dict(os.environ)
        if path:
            environment.pop("PYTHONPATH", None)
        super().__init__([sys.executable, str(script)], cwd=script.parent, env=environment, start_new_session=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_process_group_saves_checkpoints(
    look: Look, setup: Setup, store: Store, number: signal.Signals
) -> None:
    jobs = look("walk", seeds=2, seconds=4).jobs()
    with Sweep(setup, "walk", seconds=4) as sweep:
        wait_for(lambda: all([*store.cell(job.cell.id).glob("*/step")] for job in jobs))
        os.killpg(sweep.pid, number)
        assert sweep.wait(timeout=20) == number
    assert store.records() == []
    assert [[attempt.how for attempt in store.history(job.cell.id)] for job in jobs] == [["stopped"]] * 2
    for job in jobs:
        (checkpoint,) = store.cell(job.cell.id).glob("*/step")
        assert 0 < int(checkpoint.read_text().split()[0]) < 100


def test_the_server_and_its_workers_end_with_a_parent_that_is_killed_while_they_start(setup: Setup) -> None:
    with Sweep(setup, "hang") as sweep:
        parent = psutil.Process(sweep.pid)
        wait_for(lambda: servers(parent))
        every = parent.children(recursive=True)
        sweep.kill()
    _, alive = psutil.wait_procs(every, timeout=30)
    assert alive == []
