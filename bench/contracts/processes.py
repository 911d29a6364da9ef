"""Work in a process of its own, which may hang, be killed or vanish."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.contracts.verdicts import Breach, told

# imported once, by the server from which processes are forked; any optimiser imports torch._dynamo, which takes long
PRELOADED = (
    "torch._dynamo",
    "bench.contracts.lives",
    "bench.training.loop",
    "bench.vae.autoencoder",
    "bench.estimators.scoring",
)


class Killed(Exception):
    """The process was ended by kill -9."""


def apart(work: Callable[..., Any], *arguments: Any, file: Path, limit: float) -> Any:
    """Return what `work(*arguments)` returns in a new process; all of it can be pickled.

    Args:
        work: a function of a module.
        arguments: what it is given.
        file: the plugin's, for the line of an error.
        limit: seconds after which the process is ended.

    Raises:
        Killed: the process was ended by kill -9.
        Breach: it took longer, raised something, or ended without a word.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, work, arguments, file), daemon=True)
    process.start()
    sender.close()
    try:
        if not receiver.poll(limit):
            raise Breach(f"it did not come to an end within {limit:g} s")
        result, error = receiver.recv()
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGKILL:
            raise Killed from None
        raise Breach(f"its process ended with exit code {process.exitcode}, without a word") from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    if error:
        raise Breach(error)
    return result


def _work(pipe: Connection, work: Callable[..., Any], arguments: tuple[Any, ...], file: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent ends this process
    try:
        answer = work(*arguments), ""
    except BaseException as error:  # SystemExit too
        answer = None, told(error, file)
    pipe.send(answer)
