"""How processes beside this one are started, what memory they take, and how they end with it."""

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.machinery import PathFinder
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

import bench

if TYPE_CHECKING:
    import psutil

END = signal.SIGUSR1  # asks a guard to end its worker and all that came of it
LAST = 5.0  # seconds in which that is done, but for what the kernel holds on to
WATCH = 1.0  # seconds between two looks of a guard at its parent, where no signal says that it went

# An optimiser imports torch._dynamo, scores from samples scikit-learn: six seconds of a core. Nothing of `bench` is
# here: a process reads its code when it starts, as it is then.
LIBRARIES = (
    "pydantic.main",
    "pydantic.type_adapter",
    "torch._dynamo",
    "sklearn.decomposition",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "sklearn.neighbors",
)
BOOT = Path(__file__).with_name("boot") / "bench_boot.py"
_READ = ("PYTHONPATH", "PYTHONSAFEPATH")  # by an interpreter as it starts
_CHANGING = threading.Lock()
_LONGEST = 70  # bytes of the folder of temporary files: a socket's path has 108, and multiprocessing adds up to 36
LIBRARY_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def starting(device: str = "cpu", alone: bool = False) -> ForkServerContext | SpawnContext:
    """Return the way to start processes that compute on a device.

    On Linux, processes for the CPU are forked from a server that has loaded `LIBRARIES` once for all of them. CUDA does
    not survive a fork, nor do libraries of macOS: there each process starts afresh. So does one that is `alone`, for
    which a server would only take memory, and any outside the main thread, with which the server ends.

    The server runs from here on, and loads libraries meanwhile: the first process takes as long to start. What they
    read of the environment as they load is that of now. One that is gone is started anew by the next call.

    Raises:
        OSError: the server cannot be started.
    """
    elsewhere = device != "cpu" or sys.platform != "linux"
    if alone or elsewhere or threading.current_thread() is not threading.main_thread():
        return multiprocessing.get_context("spawn")
    if len(os.fsencode(place := tempfile.gettempdir())) > _LONGEST:
        raise OSError(errno.ENAMETOOLONG, f"TMPDIR is {place}, too long for a socket in it; set it to a shorter folder")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([BOOT.stem, "bench.sweep.server", *LIBRARIES])
    with _apart(), uninterrupted():
        forkserver.ensure_running()
    return context


def start(process: BaseProcess) -> None:
    """Start a process of `starting`, with the `bench` of this one and nothing from the working directory.

    Raises:
        EOFError: the server that was to fork it is gone.
        OSError: it cannot be started.
    """
    # one that is forked inherits the mask of its server, and that may take long to load libraries
    with _apart(), uninterrupted() if isinstance(process, SpawnProcess) else nullcontext():
        process.start()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold a Ctrl-C back for the block, and from a process that starts in it, until that lifts the mask.

    While a process starts it is its parent's to answer.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _apart() -> Iterator[None]:
    """Let interpreters that start in the block import the `bench` of this process, wherever it was found.

    Nor may they import what lies in the working directory, such as a `signal.py`. The server and whatever else
    multiprocessing starts read the environment alone; what comes of them is told our `sys.path`.
    """
    with _CHANGING:
        before, path = {name: os.environ.get(name) for name in _READ}, list(sys.path)
        named = [entry for entry in (before["PYTHONPATH"] or "").split(os.pathsep) if not _here(entry)]
        os.environ.update(PYTHONSAFEPATH="1", PYTHONPATH=os.pathsep.join([str(BOOT.parent), *named]))
        sys.path[:] = _path()
        try:
            resource_tracker.ensure_running()  # first, because starting it lifts the mask of signals
            yield
        finally:
            sys.path[:] = path
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def _path() -> list[str]:
    """Return our `sys.path` with the working directory last, so far as the same `bench` is found in it."""
    rest, last = [entry for entry in sys.path if not _here(entry)], [entry for entry in sys.path if _here(entry)]
    home = str(BOOT.parents[3])
    for path in ([*rest, *last], [*rest, home]):
        spec = PathFinder.find_spec("bench", path)
        if spec and spec.origin and os.path.realpath(spec.origin) == os.path.realpath(bench.__file__):
            return path
    return [home, *rest, *last]


def _here(entry: str) -> bool:
    """Tell whether an entry of a path is the working directory."""
    try:
        return os.path.realpath(entry) == os.path.realpath(os.getcwd())
    except OSError:  # it is gone
        return entry in ("", ".")


def one_thread() -> None:
    """Let numerical libraries that this process loads from here on use one thread each."""
    for variable in LIBRARY_THREADS:
        os.environ[variable] = "1"


def keep_memory() -> None:
    """Let the allocator keep what is freed, up to a gibibyte, and ask the system for no tensor's memory on its own.

    By default glibc gives the end of the heap and large blocks back at once; a step of training then begins with
    hundreds of page faults, a quarter of its time.
    """
    with suppress(OSError, AttributeError):  # other C libraries have no such call
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
        mallopt(-4, 0)  # M_MMAP_MAX


def reset_peak() -> None:
    """Start the kernel's high-water mark of this process's memory anew, where it lets us."""
    with suppress(OSError), open("/proc/self/clear_refs", "wb", buffering=0) as file:
        file.write(b"5")


def peak() -> int:
    """Return the most memory this process used, in bytes: since `reset_peak` where that worked, else ever."""
    with suppress(OSError), open("/proc/self/status", "rb", buffering=0) as file:
        if match := re.search(rb"^VmHWM:\s*(\d+)", file.read(1 << 16), re.MULTILINE):
            return int(match[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def end_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Let the kernel end this process with its parent, also while a library computes and no thread can run."""
    _prctl(1, number)  # PR_SET_PDEATHSIG


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value)


# ---------------------------------------------------------------- a worker and all that it starts


def guard(*pipes: int) -> None:
    """Go on in a child of this process, its worker; this one stays behind as its guard.

    Whatever a worker starts and leaves, also as a daemon in a session of its own, falls to its guard. Once the worker
    has ended, or the guard's parent has, or `END` is sent, the guard ends them all and then itself as the worker did.
    It runs no code but this, so that nothing can keep it from that. Elsewhere than on Linux there is none, and the
    worker has a session of its own, no more.

    Args:
        pipes: file descriptors that are the worker's alone.
    """
    if sys.platform != "linux":
        os.setsid()
        return
    parent = os.getppid()
    _prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
    awaited = {signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2, signal.SIGQUIT, END}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    end_with_parent(END)
    me = os.getpid()
    worker = os.fork()
    if not worker:
        os.setsid()
        end_with_parent()
        if os.getppid() != me:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return
    status = 0
    try:
        for pipe in pipes:
            os.close(pipe)
        status = _wait(worker, parent, awaited)
    finally:  # never back into the worker's code
        _end_like(status)


def _wait(worker: int, parent: int, awaited: set[signal.Signals]) -> int:
    """Wait until the worker has ended or is to end; end what is left, and return the worker's exit code."""
    code: int | None = None
    while code is None:
        arrived = signal.sigtimedwait(awaited, WATCH)
        number = arrived.si_signo if arrived else 0
        if number == END or os.getppid() != parent:
            os.kill(worker, signal.SIGKILL)
            _, status = os.waitpid(worker, 0)
            code = os.waitstatus_to_exitcode(status)
        elif number == signal.SIGTERM:
            os.kill(worker, signal.SIGTERM)
        while code is None and (ended := _reaped()):
            code = ended[1] if ended[0] == worker else None
    with suppress(OSError):
        os.killpg(worker, signal.SIGKILL)
    deadline = time.monotonic() + LAST
    while time.monotonic() < deadline:
        try:
            while _reaped():
                pass
        except ChildProcessError:
            break  # there is nothing left
        end(descendants(os.getpid()))
        time.sleep(0.005)
    return code


def _reaped() -> tuple[int, int] | None:
    """Return process id and exit code of a child that has ended, or None where they all go on."""
    pid, status = os.waitpid(-1, os.WNOHANG)
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None


def _end_like(code: int) -> None:
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [-code])
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 1)


def descendants(pid: int) -> list[psutil.Process]:
    """Return the processes that a process started, those that these started, and so on; none where it is gone."""
    import psutil

    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def end(processes: list[psutil.Process]) -> None:
    """Kill processes that may be gone."""
    import psutil

    for process in processes:
        with suppress(psutil.Error):
            process.kill()


def resident(pid: int, limit: int) -> tuple[int, int]:
    """Return the memory that the descendants of a process hold, in bytes, and how many they are.

    What several of them share counts once where they might hold more than `limit`; else it is not looked at so closely.
    """
    import psutil

    def held(exactly: bool) -> tuple[int, int]:
        sizes = []
        for process in descendants(pid):
            with suppress(psutil.Error):
                sizes.append(int(process.memory_full_info().pss if exactly else process.memory_info().rss))
        return sum(sizes), len(sizes)

    held_at_most, number = held(False)
    several = held_at_most > limit and number > 1 and sys.platform == "linux"
    return held(True) if several else (held_at_most, number)
