"""What a SLURM job does: its cells in a pool of its own, and back into the queue when its time is over or it must go.

SLURM sends USR2 some time before a job's time limit and when a job has to give place to another. The running cells
then save a checkpoint, the job puts itself back into the queue, and goes on when it starts again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bench.profile import Slurm
from bench.protocol import UserError
from bench.sweep import attempts, sharing
from bench.sweep.attempts import Job, given_up, interruptions
from bench.sweep.circumstances import provenance
from bench.sweep.feed import Feed
from bench.sweep.limits import Limits
from bench.sweep.pool import Pool, SweepError
from bench.sweep.progress import Lines
from bench.sweep.screen import Screen, Tally
from bench.sweep.slurm import commands as slurm
from bench.sweep.slurm import launches
from bench.sweep.storage import StoreError
from bench.sweep.worker import Setup

PARENT = 0.2e9  # bytes of a job that its parent process needs
LINGER = 120  # seconds for which a job that was told to end waits for its end
EARLY = 65  # seconds by which SLURM may send the signal too early


@dataclass(frozen=True)
class Chunk:
    """The cells of one job. It is pickled when it is submitted, and called when the job starts.

    Attributes:
        setup: what all cells share.
        jobs: the cells.
        names: what a line calls each.
        sweep: the launch's id.
        settings: what the job asked for.
        timeout: seconds an attempt at a cell may take, or None.
    """

    setup: Setup
    jobs: Sequence[Job]
    names: dict[str, str]
    sweep: str
    settings: Slurm
    timeout: float | None

    def __call__(self) -> None:
        """Carry out the cells that have no final record."""
        started = time.monotonic()
        settings, warned = self.settings, slurm.notice(self.settings.time)

        def how() -> str:
            return "timeout" if time.monotonic() - started > 60 * settings.time - warned - EARLY else "preempted"

        limits = Limits(self.timeout, None, settings.retries, patience=0.6 * warned)
        devices = [f"cuda:{number}" for number in range(settings.gpus)] if self.setup.device == "cuda" else []
        screen = Lines(len(self.jobs), self._called, lambda job: job.cell.id)
        setup = replace(self.setup, circumstances=provenance(self.setup.device))  # of this node
        pool = Pool(setup, 1, screen, limits, devices=devices, sweep=self.sweep, stops={signal.SIGUSR2: how})
        try:
            pool.feed = self._feed(screen)
            tally = self._carried_out(pool)
            if tally.signal == signal.SIGUSR2:
                signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # it comes again until this process has ended
                if self._left(pool):
                    self._requeue(tally)
        except (SweepError, StoreError, UserError, slurm.Unreachable) as error:
            screen.note(f"error: {error}")
            sys.exit(1)
        if tally.signal == signal.SIGTERM:
            _linger()
        if tally.signal is not None:
            sys.exit(1)

    def _carried_out(self, pool: Pool) -> Tally:
        """Let the pool carry out the cells."""
        settings = self.settings
        try:
            with self._slots(pool) as pool.jobs:
                pool.setup = replace(pool.setup, alone=pool.jobs == 1)
                if settings.memory:
                    memory = max(settings.memory * 1e9 - PARENT, settings.memory * 5e8)
                    pool.limits = replace(pool.limits, memory=int(memory / pool.jobs))
                return pool.run(self.jobs)
        except sharing.Interrupted as interrupted:
            return interrupted.tally
        except KeyboardInterrupt:  # a second signal, while processes were starting
            return pool.tally if pool.tally.signal is not None else Tally(signal=signal.SIGTERM)

    def _requeue(self, tally: Tally) -> None:
        """Put this job back into the queue, unless it comes to nothing every time.

        Raises:
            SweepError: no cell began, as often before.
            slurm.Unreachable: SLURM did not answer.
        """
        restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        # where cells began, each counts how often it was interrupted
        if not tally.endings and restarts > self.settings.retries * self.settings.cells_per_job:
            why = f"had gone back into the queue {restarts} times before"
            raise SweepError(f"the job was told to go before a cell could begin, and {why}")
        _requeue()

    def _called(self, job: Job) -> str:
        """Return what a line calls a cell."""
        return self.names[job.cell.id]

    def _feed(self, screen: Screen) -> Feed:
        """Return what decides on further cells."""
        return Feed()

    @contextlib.contextmanager
    def _slots(self, pool: Pool) -> Iterator[int]:
        """Give how many cells run at a time."""
        settings = self.settings
        if not pool.devices:
            yield min(settings.gpus or settings.cpus, len(self.jobs))
            return
        left = [job for job in self.jobs if not pool.store.taken(job)] or self.jobs
        with sharing.slots(pool.setup, left, pool.devices, settings.per_gpu, pool.screen) as number:
            yield number

    def _left(self, pool: Pool) -> Sequence[Job]:
        """Return the cells that are to go on; those that were interrupted too often get their record."""
        left = []
        cancelled = launches.cancelled(pool.store, self.sweep)
        for job in self.jobs:
            if job.cell.id in cancelled or pool.store.taken(job):
                continue
            history = pool.store.history(job.cell.id)
            interrupted = interruptions(history, self.sweep)
            if len(interrupted) <= self.settings.retries:
                left.append(job)
                continue
            last = replace(job, attempt=history[-1].number)
            pool.store.vacate(last)
            pool.store.finish(last, last.record(self.setup.grid, self.setup.circumstances, *given_up(interrupted)))
        return left


def _requeue() -> None:
    """Put this job back into the queue; a controller that is being restarted gets some tries.

    Not one that ends already: SLURM would take it, and so bring back what was cancelled while its cells saved.

    Raises:
        slurm.Unreachable: it did not answer.
    """
    for wait in (2, 5, 10, 20, 0):
        try:
            if slurm.state(attempts.job()) in slurm.RUNNING:
                slurm.requeue(attempts.job())
            return
        except slurm.Unreachable:
            if not wait:
                raise
            time.sleep(wait)


def _linger() -> None:
    """Wait a while for SLURM to end this job: a preempted one goes back into the queue only while it still runs."""
    deadline = time.monotonic() + LINGER
    with contextlib.suppress(slurm.Unreachable):
        while time.monotonic() < deadline and slurm.state(attempts.job()) in slurm.RUNNING:  # else it was cancelled
            time.sleep(2)
