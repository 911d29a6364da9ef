"""Submitting cells to SLURM, through submitit, as a launch that the store keeps."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import replacing
from bench.profile import Slurm
from bench.protocol import UserError
from bench.sweep.attempts import Job, identify
from bench.sweep.circumstances import now
from bench.sweep.processes import BOOT
from bench.sweep.record import one_line
from bench.sweep.signals import raised
from bench.sweep.slurm import commands as slurm
from bench.sweep.slurm import launches
from bench.sweep.slurm.chunk import Chunk
from bench.sweep.slurm.launches import Array, Launch
from bench.sweep.storage import StoreError

if TYPE_CHECKING:
    from submitit import SlurmExecutor

    from bench.sweep.status import Survey
    from bench.sweep.worker import Setup


class Submission:
    """Cells on their way to SLURM.

    Args:
        survey: that they come from.
        jobs: the cells.
        setup: what they share.
        settings: what a job asks for.
        timeout: seconds an attempt at a cell may take, or None.
        options: of the command, kept for a retry.
    """

    def __init__(
        self,
        survey: Survey,
        jobs: Sequence[Job],
        setup: Setup,
        settings: Slurm,
        timeout: float | None,
        options: dict[str, Any],
    ) -> None:
        self.store, self.settings = survey.store, settings
        self.launch = Launch(identify(), now(), settings.model_dump(mode="json"), options)
        setup = replace(setup, submitted=True)
        self.chunks: list[Chunk] = []
        for start in range(0, len(jobs), settings.cells_per_job):
            part = tuple(jobs[start : start + settings.cells_per_job])
            names = {job.cell.id: survey.name(job.cell) for job in part}
            self.chunks.append(Chunk(setup, part, names, self.launch.sweep, settings, timeout))

    def arrays(self, most: int) -> list[list[Chunk]]:
        """Return the jobs of every array, none of more than `most`."""
        return [self.chunks[start : start + most] for start in range(0, len(self.chunks), most)]

    def scripts(self, most: int) -> list[str]:
        """Return the script of every array; nothing is written."""
        texts = []
        for number, array in enumerate(self.arrays(most)):
            executor = self._executor(number, after="ARRAY-BEFORE" if number else "")
            texts.append(self._script(executor, [pickle.dumps(chunk) for chunk in array]))
        return texts

    def submit(self) -> Launch:
        """Submit everything and keep what was submitted in the store.

        Whatever stops it, Ctrl-C too: no job goes on of which the store knows nothing.

        Raises:
            UserError: SLURM refuses. What it took before is kept, and goes on.
            StoreError: the store cannot be written.
            Unreachable: SLURM does not answer.
        """
        launch, arrays = self.launch, self.arrays(slurm.most_tasks())
        launch.cluster = slurm.cluster()
        with raised():
            for number, array in enumerate(arrays):
                try:
                    launch = self._submit(launch, number, array)
                except slurm.Refused as error:
                    words = one_line(error.words.rpartition("sbatch: error:")[2].strip() or error.words)
                    rest = f" (after {number} of {len(arrays)} arrays)" if number else ""
                    raise UserError(f"SLURM does not take the jobs{rest}: {words}") from error
        return launch

    def _submit(self, launch: Launch, number: int, array: Sequence[Chunk]) -> Launch:
        """Submit array `number` and return the launch with it; where that is stopped, the launch stays as it is.

        Raises:
            StoreError: the store cannot be written.
            Unreachable: SLURM does not answer, or refuses.
        """
        executor = self._executor(number, after=launch.arrays[-1].job if number else "")
        place, contents = Path(executor.folder), [pickle.dumps(chunk) for chunk in array]
        asked, job = [cell for chunk in array for cell in chunk.jobs], ""
        try:
            launches.write(self.store, launch)
            self._write(place, contents, self._script(executor, contents))
            job = slurm.submit(place / "submission.sh")
            longer = replace(
                launch,
                keys=launch.keys | {each.cell.id: each.key for each in asked},
                replaces=launch.replaces | {each.cell.id: each.replaces for each in asked if each.replaces is not None},
                arrays=[*launch.arrays, Array(job, [[each.cell.id for each in chunk.jobs] for chunk in array])],
            )
            launches.write(self.store, longer)
        except BaseException:
            # a job that SLURM may have taken without an answer finds nothing to carry out, and ends
            shutil.rmtree(place if number else launches.folder(self.store, launch.sweep), ignore_errors=True)
            with contextlib.suppress(slurm.Unreachable):
                slurm.cancel([job] if job else [])
            if number:
                with contextlib.suppress(StoreError):
                    launches.write(self.store, launch)
            raise
        return longer

    def _script(self, executor: SlurmExecutor, contents: Sequence[bytes]) -> str:
        """Return an array's script; it holds the digests of what its jobs are handed."""
        if len(contents) > 1:
            executor.parameters["map_count"] = len(contents)
        digests = [hashlib.sha256(content).hexdigest() for content in contents]
        words = [sys.executable, "-P", "-u", str(BOOT), str(executor.folder), *digests]
        return executor._make_submission_file_text(shlex.join(words), "")

    def _write(self, place: Path, contents: Sequence[bytes], script: str) -> None:
        """Write what the jobs of an array are handed, and their script.

        Raises:
            StoreError: the store cannot be written.
        """
        try:
            place.mkdir(parents=True, exist_ok=True)
            for task, content in enumerate(contents):
                with replacing(place / f"{task}.pickle") as file:
                    file.write(content)
            with replacing(place / "submission.sh") as file:
                file.write(script.encode())
        except OSError as error:
            raise StoreError(f"the run store {self.store.folder} cannot be written ({error.strerror})") from error

    def _executor(self, number: int, after: str) -> SlurmExecutor:
        """Return what submits array `number`; `after` is the job that must be over before, where jobs are counted."""
        from submitit import SlurmExecutor

        class Executor(SlurmExecutor):
            @classmethod
            def affinity(cls) -> int:
                return 2  # `--dry-run` needs no SLURM

        settings, sweep = self.settings, self.launch.sweep
        executor = Executor(launches.folder(self.store, sweep).absolute() / str(number))
        parameters = settings.model_dump(include={"partition", "account", "constraint", "time"}) | {
            "job_name": f"bench-{self.chunks[0].setup.grid}-{sweep}",
            "gpus_per_node": settings.gpus or None,
            "cpus_per_task": settings.cpus,
            "mem": f"{max(1, round(settings.memory * 1000))}M" if settings.memory else None,
            "array_parallelism": settings.parallel or len(self.chunks),
            "dependency": f"afterany:{after}" if after and settings.parallel else None,
            "setup": self._before(),
            "teardown": self._after(),
            "stderr_to_stdout": True,
            "srun_args": [f"--cpus-per-task={settings.cpus}"],
            "additional_parameters": {
                "requeue": True,
                "signal": f"B:USR2@{slurm.notice(settings.time)}",
                **settings.further,
            },
        }
        executor.update_parameters(**{name: value for name, value in parameters.items() if value not in (None, [])})
        return executor

    def _before(self) -> list[str]:
        """Return the lines of shell before the job.

        SLURM's early signal goes to the shell, which waits for a shell of its own with the lines of `setup` and srun,
        and hands it on: whatever takes its time in `setup` ends by it at once, and srun sends it on to the job.
        """
        return [
            "trap 'told=1; kill -USR2 $! 2>/dev/null' USR2",
            "(",
            *self.settings.setup,
            'srun() { exec srun "$@"; }  # the process that is handed the signal',
        ]

    def _after(self) -> list[str]:
        """Return the lines of shell after the job: one that was killed from outside goes back into the queue."""
        most = self.settings.retries * self.settings.cells_per_job
        return [
            ") &",
            "[ $told ] || wait $!; code=$?",
            "if [ $told ]; then  # which ended the wait; and srun takes no signal while it starts",
            "    while sleep 2; kill -USR2 $! 2>/dev/null; do :; done",
            "    wait $!; code=$?",
            "fi",
            # not $SLURM_JOB_ID alone: that of an array's last job is the id of the whole array
            "job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}",
            "job=${job:-$SLURM_JOB_ID}",
            # KILL; or USR2 before there was anybody to take it, and so before a cell could begin
            'case "$code" in',
            f"    137) most={most} ;;",
            f"    140) most={most + 1} ;;",
            "    *) exit $code ;;",
            "esac",
            'if [ "${SLURM_RESTART_COUNT:-0}" -lt "$most" ]; then',
            "    for wait in 2 5 10 20 40; do  # the controller may be on its way back, too",
            "        if state=$(squeue --noheader --jobs=$job --format=%T); then",
            f'            case "$state" in {"|".join(slurm.RUNNING)}) ;; *) break ;; esac',
            "            scontrol requeue $job && break",
            "        fi",
            "        sleep $wait",
            "    done",
            "fi",
            "exit $code",
        ]
