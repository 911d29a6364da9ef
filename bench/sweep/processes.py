"""How processes beside this one are started, and how they end with it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.context import ForkServerContext, SpawnContext

# An optimiser imports torch._dynamo, scores from samples scikit-learn: six seconds of a core. Nothing of `bench` is
# here: a process reads its code when it starts, as it is then.
LIBRARIES = (
    "torch._dynamo",
    "sklearn.decomposition",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "sklearn.neighbors",
)
LIBRARY_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def starting(device: str = "cpu") -> ForkServerContext | SpawnContext:
    """Return the way to start processes that compute on a device.

    On Linux, processes for the CPU are forked from a server that has loaded `LIBRARIES` once for all of them. CUDA does
    not survive a fork, nor do libraries of macOS: there each process starts afresh. So it does outside the main thread,
    since the server ends with the thread that started it.
    """
    if device != "cpu" or sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.sweep.server", *LIBRARIES])
    return context


def one_thread() -> None:
    """Let numerical libraries that this process loads from here on use one thread each."""
    for variable in LIBRARY_THREADS:
        os.environ[variable] = "1"


def end_with_parent() -> None:
    """Let the kernel end this process with its parent, also while a library computes and no thread can run."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
