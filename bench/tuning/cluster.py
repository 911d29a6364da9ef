"""Tuning in SLURM jobs: each works on the studies like any other process, until every row has had its allowance."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from bench.profile import Slurm
from bench.protocol import UserError
from bench.sweep.attempts import Job, identify
from bench.sweep.circumstances import now
from bench.sweep.feed import Feed
from bench.sweep.pool import Pool
from bench.sweep.screen import Screen
from bench.sweep.slurm import commands
from bench.sweep.slurm.chunk import Chunk
from bench.sweep.slurm.launches import Launch
from bench.sweep.slurm.submission import Submission
from bench.sweep.store import Store
from bench.tuning.orders import Order
from bench.tuning.rows import SEEDS


@dataclass(frozen=True)
class Tuner(Chunk):
    """What such a job does.

    Attributes:
        order: the studies, and what each may have.
    """

    order: Order

    def __call__(self) -> None:
        """Carry out trials; whoever ends last writes the tuned grid."""
        super().__call__()
        try:
            self.order.conclude(print)
        except UserError as error:
            print(f"error: {error}")
            sys.exit(1)

    def _called(self, job: Job) -> str:
        return f"{job.cell.label}, trial {job.cell.seed - SEEDS}"

    def _feed(self, screen: Screen) -> Feed:
        return self.order.feed(screen.note)

    @contextlib.contextmanager
    def _slots(self, pool: Pool) -> Iterator[int]:
        yield self.settings.gpus or self.settings.cpus

    def _left(self, pool: Pool) -> Sequence[Job]:
        return self.order.jobs if pool.feed.open else ()


class Submitted(Submission):
    """Such jobs on their way to SLURM.

    Args:
        order: the studies.
        settings: what a job asks for.
        workers: jobs.
        timeout: seconds a trial may take, or None.
    """

    def __init__(self, order: Order, settings: Slurm, workers: int, timeout: float | None) -> None:
        self.store, self.settings = Store(order.setup.store), settings
        self.launch = Launch(identify(), now(), settings.model_dump(mode="json"), {})
        setup = replace(order.setup, submitted=True)
        tuner = Tuner(setup, (), {}, self.launch.sweep, settings, timeout, order)
        self.chunks = [tuner] * workers


def watch(launch: Launch, say: Callable[[str], None]) -> dict[str, str]:
    """Wait until none of the jobs of a launch runs, or waits and may start by itself.

    Args:
        launch: it.
        say: takes what is waited for besides.

    Returns:
        Why the others do not start by themselves, in SLURM's words, by job.

    Raises:
        Elsewhere: there is no SLURM any more.
    """
    ours = {job: [launch.sweep] for array in launch.arrays for job, _ in array.jobs()}
    before: object = None
    changed = time.monotonic()
    while True:
        start = time.monotonic()
        now: object
        try:
            now = queue = commands.queue(ours)
        except commands.Elsewhere:
            raise
        except commands.Unreachable as error:  # it may be restarted: jobs outlive that
            now = f"{error}; waiting for it"
            if now != before:
                say(now)
        else:
            stuck = {job: entry.stuck for job, entry in queue.items() if entry.stuck}
            if len(stuck) == len(queue):
                return stuck
        if now != before:
            before, changed = now, start
        moment = time.monotonic()
        time.sleep(commands.pause(moment - start, moment - changed))
