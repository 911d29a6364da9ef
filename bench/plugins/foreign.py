"""Foreign code in this process: it neither ends it, nor keeps it, nor changes it, nor is its answer; and its errors."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

#: what the names of modules that are plugins begin with
PACKAGE = "bench_plugin"

#: what is used of torch
_TORCH = ("get_default_dtype", "set_default_dtype", "is_grad_enabled", "set_grad_enabled", "float32")
LONGEST = 180.0  # seconds that a plugin's import may take: libraries may lie on a slow file system


class Runaway(BaseException):
    """Foreign code that neither returns nor raises; unlike an Exception, few programs catch it."""


@contextlib.contextmanager
def as_before() -> Iterator[None]:
    """Let foreign code run in the block; then this process has its ways back.

    These are the mode of new files, what is logged and where to, torch's default type and whether it keeps gradients,
    how deep calls may go at least, and, in the main thread, what interrupts and ends the process.
    """
    deep = sys.getrecursionlimit()
    mask = os.umask(0o077)
    os.umask(mask)
    logging, torch = _imported("logging", "root"), _imported("torch", *_TORCH)
    level, handlers = (logging.root.level, [*logging.root.handlers]) if logging else (30, [])  # as Python begins
    types = (torch.get_default_dtype(), torch.is_grad_enabled()) if torch else None
    main = threading.current_thread() is threading.main_thread()
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if main else {}
    try:
        yield
    finally:
        sys.setrecursionlimit(max(deep, sys.getrecursionlimit()))  # first: the rest needs it
        os.umask(mask)
        if logging := _imported("logging", "root"):
            logging.root.setLevel(level)
            logging.root.handlers[:] = handlers
        if torch := _imported("torch", *_TORCH):
            dtype, gradients = types or (torch.float32, True)
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(gradients)
        for number, handler in signals.items():
            if handler is not None:  # it is not Python's own
                signal.signal(number, handler)


def _imported(name: str, *used: str) -> Any:
    """Return a module that is here with all that is used of it; another thread may be importing it."""
    module = sys.modules.get(name)
    return module if all(hasattr(module, attribute) for attribute in used) else None


@contextlib.contextmanager
def confined(what: str, longest: float) -> Iterator[None]:
    """Let foreign code run in the block, and neither end this process, nor keep it, nor change its ways.

    What it prints goes where errors go, for what this process prints may be read by a program. Silences what pydantic
    only warns of and `_checked` refuses.

    Args:
        what: what an error calls the code: `its import`.
        longest: seconds that it may take.

    Raises:
        Runaway: the code asked for the process's end, or did not come to its own in time. The latter is seen in the
            main thread alone.
    """
    process, leave = os.getpid(), os._exit

    def stay(status: int) -> NoReturn:
        if os.getpid() != process:  # a child that it forked
            leave(status)
        raise Runaway(f"{what} ends the process, with exit code {status}")

    def give_up(*_: object) -> None:
        raise Runaway(f"{what} has not ended after {longest:g} seconds")

    here: int | None = None
    with contextlib.suppress(OSError):  # where the working directory is gone
        here = os.open(".", os.O_RDONLY)
    alarm = signal.signal(signal.SIGALRM, give_up) if threading.current_thread() is threading.main_thread() else None
    try:
        if alarm is not None:
            before = signal.setitimer(signal.ITIMER_REAL, longest, 1.0)
        os._exit = stay
        with warnings.catch_warnings(), as_before(), contextlib.redirect_stdout(sys.stderr):
            warnings.filterwarnings("ignore", message="Field name .* shadows an attribute")
            yield
    finally:
        os._exit = leave
        if os.getpid() != process:  # what the code has forked would carry out the rest of the command, too
            leave(1)
        if alarm is not None:
            signal.setitimer(signal.ITIMER_REAL, *before)
            signal.signal(signal.SIGALRM, alarm)
        if here is not None:
            with contextlib.suppress(OSError):
                os.fchdir(here)
            os.close(here)


def reason(error: BaseException, file: Path) -> str:
    """Return type, message and the last line of `file` that an exception went through, on one line."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    try:
        text = str(error)
    except Exception:  # of a plugin's own class
        text = ""
    message = " ".join(text.partition("For further information")[0].split())  # pydantic's address of a page
    if isinstance(error, SyntaxError):
        message, lines = error.msg, [error.lineno]
    if isinstance(error, ImportError) and error.name == PACKAGE:
        message = "a plugin is one file, and imports nothing relative to itself"
    message = message if len(message) <= 300 else f"{message[:297]}..."
    line = f" (line {lines[-1]})" if lines and lines[-1] else ""
    return f"{type(error).__name__}{': ' * bool(message)}{message}{line}"
