"""Submitting a sweep to SLURM, through submitit: cells into jobs, jobs into arrays."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.profile import Slurm
from bench.protocol import UserError
from bench.sweep.attempts import Job, identify
from bench.sweep.record import now, one_line
from bench.sweep.slurm import commands as slurm
from bench.sweep.slurm import launches
from bench.sweep.slurm.chunk import Chunk, notice
from bench.sweep.slurm.launches import Array, Launch

if TYPE_CHECKING:
    from submitit import SlurmExecutor

    from bench.sweep.status import Survey
    from bench.sweep.worker import Setup


class Submission:
    """Cells on their way to SLURM.

    Args:
        found: the survey that they come from.
        jobs: the cells.
        setup: what they share.
        settings: what a job asks for.
        timeout: seconds an attempt at a cell may take, or None.
        options: of the command, kept for a retry.
    """

    def __init__(
        self,
        found: Survey,
        jobs: Sequence[Job],
        setup: Setup,
        settings: Slurm,
        timeout: float | None,
        options: dict[str, Any],
    ) -> None:
        self.found, self.settings, self.options = found, settings, options
        self.sweep = identify()
        setup = replace(setup, submitted=True)
        names = {job.cell.id: found.name(job.cell) for job in jobs}
        size = settings.cells_per_job
        self.chunks = []
        for part in (jobs[start : start + size] for start in range(0, len(jobs), size)):
            called = {job.cell.id: names[job.cell.id] for job in part}
            self.chunks.append(Chunk(setup, tuple(part), called, self.sweep, settings, timeout))

    def arrays(self, most: int) -> list[list[Chunk]]:
        """Return the jobs of every array, none of more than `most`."""
        return [self.chunks[start : start + most] for start in range(0, len(self.chunks), most)]

    def scripts(self, most: int) -> list[str]:
        """Return the script of every array; nothing is written."""
        texts = []
        for number, array in enumerate(self.arrays(most)):
            executor = self._executor(number, after="ARRAY-BEFORE" if number else "")
            if len(array) > 1:
                executor.parameters["map_count"] = len(array)
            texts.append(executor._make_submission_file_text(executor._submitit_command_str, ""))
        return texts

    def submit(self) -> Launch:
        """Submit everything and keep what was submitted in the store.

        Raises:
            UserError: SLURM refuses. What it took before is kept, and goes on.
            StoreError: the store cannot be written.
            Unreachable: SLURM does not answer.
        """
        launch = Launch(
            sweep=self.sweep,
            submitted=now(),
            slurm=self.settings.model_dump(mode="json"),
            options=self.options,
            keys={job.cell.id: job.key for chunk in self.chunks for job in chunk.jobs},
            replaces={
                job.cell.id: job.replaces for chunk in self.chunks for job in chunk.jobs if job.replaces is not None
            },
        )
        arrays = self.arrays(slurm.most_tasks())
        launches.write(self.found.store, launch)
        for number, array in enumerate(arrays):
            executor = self._executor(number, after=launch.arrays[-1].job if launch.arrays else "")
            try:
                with contextlib.redirect_stderr(io.StringIO()):  # sbatch's own words are in the exception as well
                    jobs = executor.submit_array(array)
            except Exception as error:  # submitit raises its own kinds, without a common base
                self._keep(launch)
                said = one_line(str(error).rpartition("sbatch: error:")[2] or str(error))
                rest = f" (after {number} of {len(arrays)} arrays)" if number else ""
                raise UserError(f"SLURM does not take the jobs{rest}: {said}") from error
            cells = [[job.cell.id for job in chunk.jobs] for chunk in array]
            launch.arrays.append(Array(jobs[0].job_id.partition("_")[0], cells))
            launches.write(self.found.store, launch)
        return launch

    def _keep(self, launch: Launch) -> None:
        """Keep the part of a launch that was submitted before SLURM refused the rest."""
        if not launch.arrays:
            shutil.rmtree(launches.folder(self.found.store, self.sweep), ignore_errors=True)
            return
        launch.keys = {cell: key for cell, key in launch.keys.items() if cell in launch.jobs()}
        launches.write(self.found.store, launch)

    def _executor(self, number: int, after: str) -> SlurmExecutor:
        """Return what submits array `number`; `after` is the job that must be over before, where jobs are counted."""
        from submitit import SlurmExecutor

        class Executor(SlurmExecutor):
            @classmethod
            def affinity(cls) -> int:
                return 2  # `--dry-run` needs no SLURM

        folder = launches.folder(self.found.store, self.sweep).absolute() / str(number)
        executor = Executor(folder, max_num_timeout=self.settings.retries)
        settings = self.settings
        parameters = {
            "job_name": f"bench-{self.sweep}",
            "partition": settings.partition,
            "account": settings.account,
            "constraint": settings.constraint,
            "gpus_per_node": settings.gpus or None,
            "cpus_per_task": settings.cpus,
            "mem": f"{round(settings.memory * 1000)}M" if settings.memory else None,
            "time": settings.time,
            "signal_delay_s": notice(settings.time),
            "array_parallelism": settings.parallel or len(self.chunks),
            "dependency": f"afterany:{after}" if after and settings.parallel else None,
            "setup": list(settings.setup) or None,
            "teardown": self._after(),
            "stderr_to_stdout": True,
            "srun_args": [f"--cpus-per-task={settings.cpus}"],
            "additional_parameters": {"requeue": True},
        }
        executor.update_parameters(**{name: value for name, value in parameters.items() if value is not None})
        return executor

    def _after(self) -> list[str]:
        """Return the lines of shell after the job: one that was killed from outside goes back into the queue."""
        most = self.settings.retries * self.settings.cells_per_job
        return [
            "code=$?",
            # not $SLURM_JOB_ID alone: that of an array's last job is the id of the whole array
            "job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}",
            "job=${job:-$SLURM_JOB_ID}",
            # KILL, or USR2 before there was anybody to take it
            '[ "$code" = 137 ] || [ "$code" = 140 ] || exit $code',
            f'if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {most} ]; then',
            "    for wait in 2 5 10 20 40; do  # the controller may be on its way back, too",
            "        if state=$(squeue --noheader --jobs=$job --format=%T); then",
            '            [ "$state" = RUNNING ] || break',
            "            scontrol requeue $job && break",
            "        fi",
            "        sleep $wait",
            "    done",
            "fi",
            "exit $code",
        ]
