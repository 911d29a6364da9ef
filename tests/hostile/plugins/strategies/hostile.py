"""A strategy that harms its process, the sweep or its own results in the way that it is told to."""

from __future__ import annotations

import atexit
import builtins
import contextlib
import ctypes
import errno
import faulthandler
import gc
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bench import files
from bench.protocol import Diverged, Metric, Run, Score, Scores, Settings, State, Stopped, Task

FOREVER = 1000
FIT: dict[str, Callable[[Run], Any]] = {}
STATE: dict[str, Callable[[dict[str, Any]], Any]] = {}
SCORES: dict[str, Callable[[Score], Any]] = {}
_kept: list[Any] = []


class Hostile(Settings):
    """Does harm as told."""

    name: ClassVar[str] = ""

    how: str = ""

    def skip(self, task: Task) -> str | None:
        if self.how == "skip-number":
            return 5  # type: ignore[return-value]
        if self.how == "skip-raise":
            raise LookupError("no taste")
        return None

    def fit(self, task: Task, run: Run) -> State:
        state: Any = {"modules": {}, "steps": 4, "curves": [], "stability": {}, "resources": {}}
        FIT.get(self.how, print)(run)
        if self.how == "write-data":
            np.add(task.splits.train, 1, out=task.splits.train)
        return STATE[self.how](state) if self.how in STATE else state  # type: ignore[no-any-return]

    def evaluate(self, state: State, task: Task, run: Run) -> Scores:
        score = Score(Metric("vlb", "nats"), 2.0, 4, "exact", 0.1, 0.1, 2.0, 2.0)
        made = SCORES[self.how](score) if self.how in SCORES else [score]
        return Scores(made) if isinstance(made, list) else made


def does(act: Callable[[Run], Any]) -> Callable[[Run], Any]:
    """Let a strategy do this as it trains; its name tells it to."""
    FIT[act.__name__.replace("_", "-")] = act
    return act


def begun(pid: int) -> None:
    """Note a process, to see later whether it was left behind."""
    file = os.open(os.environ["HOSTILE_PIDS"], os.O_WRONLY | os.O_APPEND)  # and held open, by what it forks too
    os.write(file, f"{pid}\n".encode())


def child(act: Callable[[], Any], alone: bool = False) -> None:
    """Do something in a forked process, or in a daemon that has a session of its own."""
    ready, say = os.pipe()
    if not (pid := os.fork()):
        if alone:
            os.setsid()
            if os.fork():
                os._exit(0)
        begun(os.getpid())
        os.write(say, b"!")
        act()
        os._exit(0)
    os.read(ready, 1)
    if alone:
        os.waitpid(pid, 0)


def sleep() -> None:
    time.sleep(FOREVER)


def eat() -> None:
    """Take two gigabytes, little by little."""
    for _ in range(40):
        _kept.append(os.urandom(1) * 50_000_000)
        time.sleep(0.02)
    sleep()


class Unsayable(Exception):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("not to be said")

    __repr__ = __str__


class Rude(BaseException):
    """No Exception."""


class Endless(Exception):
    """Takes for ever to be shown."""

    def __str__(self) -> str:
        sleep()
        return ""


def throws(name: str, error: Callable[[], BaseException]) -> None:
    """Let a strategy raise this as it trains."""

    def act(run: Run) -> None:
        raise error()

    FIT[name] = act


# ---------------------------------------------------------------- deaths


@does
def killed(run: Run) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@does
def segfault(run: Run) -> None:
    ctypes.string_at(0)


@does
def abort(run: Run) -> None:
    os.abort()


@does
def exit_0(run: Run) -> None:
    os._exit(0)


@does
def exit_3(run: Run) -> None:
    os._exit(3)


@does
def fork_and_die(run: Run) -> None:
    child(sleep)
    os.kill(os.getpid(), signal.SIGKILL)


@does
def daemon_and_die(run: Run) -> None:
    child(sleep, alone=True)
    os.kill(os.getpid(), signal.SIGKILL)


@does
def kill_parent(run: Run) -> None:
    child(sleep)
    os.kill(os.getppid(), signal.SIGKILL)
    sleep()


@does
def kill_group(run: Run) -> None:
    os.killpg(0, signal.SIGKILL)


@does
def alarm(run: Run) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    sleep()


@does
def stack_overflow(run: Run) -> None:
    faulthandler._stack_overflow()  # type: ignore[attr-defined]


@does
def cpu_limit(run: Run) -> None:
    used = int(time.process_time()) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used, used))
    while True:
        pass


@does
def garbage(run: Run) -> None:
    for file in range(3, 100):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(file).st_mode):
                os.write(file, b"\xff" * 100)
    sleep()


@does
def wrong_message(run: Run) -> None:
    content = pickle.dumps({"status": "ok"})
    for file in range(3, 100):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(file).st_mode):
                os.write(file, len(content).to_bytes(8, "big") + content)
    sleep()


@does
def half_message(run: Run) -> None:
    for file in range(3, 100):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(file).st_mode):
                os.write(file, (1000).to_bytes(8, "big") + b"and no more")
    child(sleep)
    os.kill(os.getpid(), signal.SIGKILL)


@does
def no_open(run: Run) -> None:
    builtins.open = None  # type: ignore[assignment]


@does
def no_link(run: Run) -> None:
    os.link = None  # type: ignore[assignment]


# ---------------------------------------------------------------- memory


throws("memory", lambda: MemoryError("no room"))


@does
def address_limit(run: Run) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 32, resource.RLIM_INFINITY))
    bytearray(1 << 33)


@does
def eat_alone(run: Run) -> None:
    eat()


@does
def eat_in_child(run: Run) -> None:
    child(eat)
    sleep()


@does
def eat_in_daemon(run: Run) -> None:
    child(eat, alone=True)
    sleep()


# ---------------------------------------------------------------- what never ends


@does
def hang(run: Run) -> None:
    sleep()


@does
def deaf(run: Run) -> None:
    ctypes.PyDLL(None).sleep(FOREVER)  # unlike time.sleep, it lets no other Python thread run


@does
def deaf_thread(run: Run) -> None:
    threading.Thread(target=ctypes.PyDLL(None).sleep, args=(FOREVER,)).start()
    sleep()


@does
def stopped_itself(run: Run) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@does
def stop_parent(run: Run) -> None:
    child(sleep)
    os.kill(os.getppid(), signal.SIGSTOP)
    sleep()


@does
def ignore_signals(run: Run) -> None:
    for number in range(1, 65):
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    sleep()


@does
def swallow(run: Run) -> None:
    while True:
        with contextlib.suppress(BaseException):
            sleep()


@does
def children_hang(run: Run) -> None:
    child(sleep)
    child(sleep, alone=True)
    sleep()


@does
def chain(run: Run) -> None:
    """Be forked over and over, each process ending as soon as the next is there."""

    def go() -> None:
        while True:
            time.sleep(0.01)
            if os.fork():
                os._exit(0)

    child(go, alone=True)
    sleep()


throws("endless-words", Endless)


# ---------------------------------------------------------------- errors


throws("raise", lambda: ValueError("a mistake"))
throws("unsayable", Unsayable)
throws("rude", lambda: Rude("no manners"))
throws("sys-exit", lambda: SystemExit(3))
throws("interrupt", lambda: KeyboardInterrupt())
throws("generator-exit", lambda: GeneratorExit())
throws("stopped-unasked", lambda: Stopped("by itself"))
throws("surrogate", lambda: ValueError("bad \udcff"))
throws("long-words", lambda: ValueError("word " * 1_000_000))
throws("false-step", lambda: Diverged("it went", "far"))  # type: ignore[arg-type]
throws("false-curves", lambda: Diverged("it went", 3, {"a": 1.0}, [{"epoch": None}]))
throws("false-stability", lambda: Diverged("it went", 3, {"a": "much"}))  # type: ignore[dict-item]
throws("no-space-elsewhere", lambda: OSError(errno.ENOSPC, "No space left on device", "/somewhere/else"))


@does
def progress_text(run: Run) -> None:
    run.progress(stage="fit", done="much", total=4)


@does
def progress_none(run: Run) -> None:
    run.progress(stage="fit", done=1, total=4, loss=None)


@does
def progress_huge(run: Run) -> None:
    run.progress(stage="fit", done=10**30, total=4)


@does
def few_files(run: Run) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (4, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


@does
def files_left_open(run: Run) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with contextlib.suppress(OSError):
        while True:
            _kept.append(os.open("/dev/null", os.O_RDONLY))


@does
def small_files(run: Run) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))


@does
def low_recursion(run: Run) -> None:
    depth, frame = 0, sys._getframe()
    while frame.f_back:
        depth, frame = depth + 1, frame.f_back
    sys.setrecursionlimit(depth + 12)


@does
def traced(run: Run) -> None:
    def trace(*_: Any) -> None:
        raise RuntimeError("traced")

    sys.settrace(trace)


STATE["state-none"] = lambda state: None
STATE["state-object"] = lambda state: state | {"modules": {"encoder": Unsayable()}}
STATE["state-lambda"] = lambda state: state | {"modules": {"encoder": lambda: None}}
STATE["state-steps"] = lambda state: state | {"steps": "many"}
STATE["state-curves"] = lambda state: state | {"curves": [{"epoch": 1}]}
STATE["state-overflow"] = lambda state: state | {"stability": {"norm": 10**400}}

SCORES["scores-none"] = lambda score: None
SCORES["scores-text"] = lambda score: ["good"]
SCORES["sideways"] = lambda score: [replace(score, metric=Metric("vlb", "nats", "sideways"))]  # type: ignore[arg-type]
SCORES["higher-bound"] = lambda score: [replace(score, metric=Metric("vlb", "nats", "higher"))]
SCORES["negative-error"] = lambda score: [replace(score, stderr_mc=-1.0)]
SCORES["upside-down"] = lambda score: [replace(score, sys_lower=3.0, sys_upper=1.0)]
SCORES["outside"] = lambda score: [replace(score, sys_lower=3.0, sys_upper=4.0)]
SCORES["foreign-unit"] = lambda score: [replace(score, metric=Metric("vlb", "bananas"))]
SCORES["twice"] = lambda score: [score, replace(score, value=2.0)]
SCORES["value-text"] = lambda score: [replace(score, value="2")]  # type: ignore[arg-type]
SCORES["value-list"] = lambda score: [replace(score, value=[2.0, 3.0])]  # type: ignore[arg-type]
SCORES["negative-n"] = lambda score: [replace(score, n=-4)]
SCORES["part-n"] = lambda score: [replace(score, n=2.5)]  # type: ignore[arg-type]
SCORES["escape-name"] = lambda score: [replace(score, metric=Metric("\x1b[2Jvlb", "nats"))]
SCORES["version-0"] = lambda score: [replace(score, metric=Metric("vlb", "nats", version=0))]
SCORES["array-file"] = lambda score: Scores([score], {"file": np.zeros(3)})
SCORES["array-path"] = lambda score: Scores([score], {"../../x": np.zeros(3)})
SCORES["array-objects"] = lambda score: Scores([score], {"samples": np.array([None])})
SCORES["array-ragged"] = lambda score: Scores([score], {"samples": [[1], [2, 3]]})  # type: ignore[dict-item]
SCORES["resources-text"] = lambda score: Scores([score], {}, {"seconds": "long"})  # type: ignore[dict-item]
SCORES["not-finite"] = lambda score: [replace(score, value=float("nan"))]


# ---------------------------------------------------------------- what goes well, and leaves traces


@does
def close_files(run: Run) -> None:
    os.closerange(0, 1024)


@does
def close_streams(run: Run) -> None:
    sys.stdout.close()
    sys.stderr = None


@does
def thread_stays(run: Run) -> None:
    threading.Thread(target=sleep).start()


@does
def exit_hook(run: Run) -> None:
    atexit.register(sleep)


@does
def child_stays(run: Run) -> None:
    child(sleep)


@does
def daemon_stays(run: Run) -> None:
    child(sleep, alone=True)


@does
def program_stays(run: Run) -> None:
    begun(subprocess.Popen(["sleep", str(FOREVER)], start_new_session=True, stdin=subprocess.DEVNULL).pid)


@does
def pool_stays(run: Run) -> None:
    process = multiprocessing.get_context("fork").Process(target=sleep)
    process.start()
    begun(process.pid or 0)


@does
def elsewhere(run: Run) -> None:
    os.chdir("/")


@does
def nowhere(run: Run) -> None:
    (run.folder / "gone").mkdir()
    os.chdir(run.folder / "gone")
    (run.folder / "gone").rmdir()


@does
def no_environment(run: Run) -> None:
    os.environ.clear()


@does
def elu(run: Run) -> None:
    import torch

    torch.nn.functional.elu = torch.nn.functional.relu  # type: ignore[assignment]


@does
def dtype(run: Run) -> None:
    import torch

    torch.set_default_dtype(torch.float64)


@does
def no_gradients(run: Run) -> None:
    import torch

    torch.set_grad_enabled(False)


@does
def other_device(run: Run) -> None:
    import torch

    torch.set_default_device("meta")


@does
def numpy_raises(run: Run) -> None:
    np.seterr(all="raise")
    np.exp = np.sin  # type: ignore[assignment]


@does
def same_random(run: Run) -> None:
    random.Random.random = lambda self: 0.5  # type: ignore[method-assign]
    np.random.seed(0)  # noqa: NPY002


@does
def warnings_raise(run: Run) -> None:
    warnings.simplefilter("error")
    gc.disable()


@does
def no_pickle(run: Run) -> None:
    pickle.dumps = None  # type: ignore[assignment]


@does
def other_signals(run: Run) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))


@does
def own_folder_gone(run: Run) -> None:
    shutil.rmtree(run.folder.parent)


@does
def many_words(run: Run) -> None:
    for _ in range(20):
        rest = memoryview(b"x" * 1_000_000)
        while rest:
            rest = rest[os.write(1, rest) :]


@does
def many_figures(run: Run) -> None:
    for epoch in range(5000):
        run.progress(stage="fit", done=epoch, total=5000, epoch=epoch)


@does
def strange_stage(run: Run) -> None:
    run.progress(stage=lambda: None, done=1, total=4)
    run.note(f"a\x00 note{os.linesep}of two lines")


@does
def no_default_timeout(run: Run) -> None:
    socket.setdefaulttimeout(0.001)
    time.time = lambda: 0.0
    time.sleep(0.01)


# ---------------------------------------------------------------- storage


@does
def full_disk(run: Run) -> None:
    def full(fd: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    os.fsync = full


@does
def full_checkpoint(run: Run) -> None:
    full_disk(run)
    with files.replacing(run.folder / "checkpoint") as file:
        file.write(b"x" * 10)


@does
def torch_save(run: Run) -> None:
    import torch

    torch.save(torch.zeros(10_000_000), Path(run.folder) / "own.pt")
