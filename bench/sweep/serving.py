"""A worker's process: it takes orders from its parent and has one cell after another carried out."""

from __future__ import annotations

import faulthandler
import io
import os
import queue
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import cast

from bench.sweep.attempts import Job
from bench.sweep.fingerprints import remember
from bench.sweep.processes import guard, keep_memory, one_thread
from bench.sweep.wire import Order, Outbox, Ready
from bench.sweep.worker import Setup, Worker, print_error


def serve(
    connection: Connection, output: Connection, setup: Setup, environment: dict[str, str], rooms: Mapping[str, str]
) -> None:
    """Carry out jobs until the parent says so or is gone. The entry point of a worker process.

    Args:
        connection: to the parent, both ways.
        output: takes what is printed, to be put into the cell's log.
        setup: what all cells share.
        environment: the parent's variables; a server that forked this process has those of its own start.
        rooms: what the parent knows of bench's own code (`fingerprints.remembered`).
    """
    guard(connection.fileno(), output.fileno())
    code = 1
    try:
        os.environ.clear()
        os.environ.update(environment, PYTHONSAFEPATH="1")  # nor does what a library starts look there
        remember(rooms)
        _serve(connection, output, setup)
        code = 0
    except BaseException as error:
        print_error(error)
    finally:  # not through threads and hooks that a plugin may have left
        for stream in (sys.stdout, sys.stderr):
            with suppress(BaseException):
                stream.flush()
        os._exit(code)


def _serve(connection: Connection, output: Connection, setup: Setup) -> None:
    stop = threading.Event()
    _settle(output, stop)
    orders: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, orders, stop), daemon=True).start()
    outbox = Outbox(connection.fileno())
    worker = Worker(setup)
    outbox.send(Ready(os.getpid()))
    while (job := orders.get()) is not None:
        answer = worker.carry_out(job, outbox.send, stop.is_set)
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # a plugin may have closed it
                stream.flush()
        outbox.send(answer)


def _settle(output: Connection, stop: threading.Event) -> None:
    """Make this process a worker: its output, signals, threads and its end."""
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # what was printed before a crash is in the log
    faulthandler.enable(2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent says what to do
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # and so does the end of the terminal
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # blocked while this process started
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # SLURM sends it to all of a job's processes; the parent answers
    one_thread()
    keep_memory()


def _listen(connection: Connection, orders: queue.SimpleQueue[Job | None], stop: threading.Event) -> None:
    """Take orders from the parent; end the process when there is no parent any more."""
    while True:
        try:
            order: Order = connection.recv()
        except (EOFError, OSError):
            os._exit(1)
        if order == "stop":
            stop.set()
        else:
            orders.put(cast("Job | None", order))
            if order is None:
                return
