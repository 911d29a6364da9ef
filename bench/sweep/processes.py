"""How processes beside this one are started, and how they end with it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import site
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

# An optimiser imports torch._dynamo, scores from samples scikit-learn: six seconds of a core. Nothing of `bench` is
# here: a process reads its code when it starts, as it is then.
LIBRARIES = (
    "torch._dynamo",
    "sklearn.decomposition",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "sklearn.neighbors",
)
_READ = ("PYTHONPATH", "PYTHONSAFEPATH")  # by an interpreter as it starts
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
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.sweep.server", *LIBRARIES])
    with _this_bench():
        resource_tracker.ensure_running()  # first, because starting it lifts the mask
        with uninterrupted():
            forkserver.ensure_running()
    return context


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
def _this_bench() -> Iterator[None]:
    """Let an interpreter that starts in the block import the `bench` of this process, wherever it was found.

    The server is not told our `sys.path`, and another `bench` may be installed. Nor may it import what lies in the
    working directory, such as a `signal.py`.
    """
    home, before = str(Path(__file__).resolve().parents[2]), {name: os.environ.get(name) for name in _READ}
    os.environ["PYTHONSAFEPATH"] = "1"
    if home not in (*site.getsitepackages(), site.getusersitepackages()):  # where every interpreter looks
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (home, before["PYTHONPATH"])))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


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


def end_with_parent() -> None:
    """Let the kernel end this process with its parent, also while a library computes and no thread can run."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
