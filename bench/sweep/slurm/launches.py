"""Launches: submitting cells to SLURM, through submitit, and what the store keeps of it for later commands and shells.

runs/mnist/launches/<sweep>/launch.json   which job carries out which cells
runs/mnist/submitting/attempt-<n>.json    who submits now, as one claims a cell
runs/mnist/launches/<sweep>/<n>/          array n: its script, what it was handed, and its jobs' own output
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import shlex
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from bench import files
from bench.files import replacing
from bench.profile import Slurm
from bench.protocol import UserError
from bench.sweep import attempts
from bench.sweep.attempts import Job, identify
from bench.sweep.circumstances import now
from bench.sweep.processes import BOOT
from bench.sweep.record import Name, explained, one_line
from bench.sweep.signals import raised
from bench.sweep.slurm import commands as slurm
from bench.sweep.storage import StoreError
from bench.sweep.store import Store

if TYPE_CHECKING:
    from submitit import SlurmExecutor

    from bench.sweep.slurm.chunk import Chunk
    from bench.sweep.status import Survey
    from bench.sweep.worker import Setup


@dataclass(frozen=True)
class Array:
    """An array of jobs, or one job.

    Attributes:
        job: SLURM's id of the whole.
        cells: of every job, in the array's order.
    """

    job: Annotated[str, Field(pattern=r"^[0-9]+$")]  # it is handed to SLURM's commands
    cells: list[list[Name]]

    def jobs(self) -> Iterator[tuple[str, list[str]]]:
        """Give each job's id with its cells."""
        for task, cells in enumerate(self.cells):
            yield (f"{self.job}_{task}" if len(self.cells) > 1 else self.job), cells


@dataclass
class Launch:
    """What one command submitted.

    Attributes:
        sweep: its id.
        submitted: ISO 8601.
        slurm: the `[slurm]` settings.
        options: of the command, for a retry.
        keys: of the records, by cell: they stand for the code that was submitted.
        replaces: what tells the records that are to be replaced, by cell (`Job.replaces`).
        arrays: what SLURM took.
        cancelled: cells that `bench cancel` ended.
        cluster: that took the arrays, as it calls itself; empty in launches of earlier versions.
    """

    sweep: str
    submitted: str
    slurm: dict[str, Any]
    options: dict[str, Any]
    keys: dict[str, str] = field(default_factory=dict)
    replaces: dict[str, str | int] = field(default_factory=dict)
    arrays: list[Array] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    cluster: str = ""

    def jobs(self) -> dict[str, str]:
        """Return every cell's job."""
        return {cell: job for array in self.arrays for job, cells in array.jobs() for cell in cells}

    def tuning(self) -> list[str]:
        """Return the jobs that carry out trials: they were handed no cells."""
        return [job for array in self.arrays for job, cells in array.jobs() if not cells]


LAUNCH = TypeAdapter(Launch)


def folder(store: Store, sweep: str) -> Path:
    """Return where a launch lies."""
    return store.folder / "launches" / sweep


def output(store: Store, launch: Launch, job: str) -> Path:
    """Return where a job's own output lies."""
    number = next(n for n, array in enumerate(launch.arrays) if job.partition("_")[0] == array.job)
    return folder(store, launch.sweep) / str(number) / f"{job}_0_log.out"


def write(store: Store, launch: Launch) -> None:
    """Keep a launch.

    Raises:
        StoreError: the store cannot be written.
    """
    try:
        with replacing(folder(store, launch.sweep) / "launch.json") as file:
            file.write(LAUNCH.dump_json(launch))
    except OSError as error:
        raise StoreError(f"the run store {store.folder} cannot be written ({error.strerror})") from error


def read(store: Store) -> list[Launch]:
    """Return the launches of a store that can be read, the earliest first."""
    return [launch for launch in _files(store) if isinstance(launch, Launch)]


def unread(store: Store) -> list[str]:
    """Return a sentence for each launch of a store that cannot be read: nobody knows which jobs it submitted."""
    return [sentence for sentence in _files(store) if isinstance(sentence, str)]


@contextlib.contextmanager
def claimed(store: Store) -> Iterator[None]:
    """Let no other command submit cells of a store during the block: both would submit the same ones.

    Raises:
        UserError: another one submits.
        StoreError: the store cannot be written.
    """
    place, over = store.folder / "submitting", threading.Event()
    with store.storage.writing():
        place.mkdir(parents=True, exist_ok=True)
        latest = max(attempts.numbers(os.listdir(place)), default=0)
        free = not latest or not attempts.alive(place, latest, store.storage.ahead)
        claim = attempts.claim(place, latest + 1, "") if free else None
    if claim is None:
        raise UserError(f"another command submits cells of {store.folder} to SLURM now; try again once it has")

    def beat() -> None:
        while not over.wait(attempts.BEAT):
            attempts.beat(place, claim)

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        over.set()
        heart.join()
        with contextlib.suppress(OSError):
            os.unlink(attempts.path(place, claim.number))
            place.rmdir()


def cancelled(store: Store, sweep: str) -> Sequence[str]:
    """Return the cells of a launch that `bench cancel` ended, as far as it can be read."""
    return next((launch.cancelled for launch in read(store) if launch.sweep == sweep), ())


def _files(store: Store) -> Iterator[Launch | str]:
    """Give every launch, or why a file is none."""
    for path in sorted(store.folder.glob("launches/*/launch.json")):
        try:
            launch = LAUNCH.validate_json(files.read(path), strict=True)
            if launch.sweep != path.parent.name:
                raise ValueError("its `sweep` is that of another folder")
        except ValidationError as error:
            yield f"{path} is no launch of this version: {explained(error)}"
        except (OSError, ValueError) as error:
            yield f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        else:
            yield launch


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
        from bench.sweep.slurm.chunk import Chunk

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
            write(self.store, launch)
            self._write(place, contents, self._script(executor, contents))
            job = slurm.submit(place / "submission.sh")
            longer = replace(
                launch,
                keys=launch.keys | {each.cell.id: each.key for each in asked},
                replaces=launch.replaces | {each.cell.id: each.replaces for each in asked if each.replaces is not None},
                arrays=[*launch.arrays, Array(job, [[each.cell.id for each in chunk.jobs] for chunk in array])],
            )
            write(self.store, longer)
        except BaseException:
            # a job that SLURM may have taken without an answer finds nothing to carry out, and ends
            shutil.rmtree(place if number else folder(self.store, launch.sweep), ignore_errors=True)
            with contextlib.suppress(slurm.Unreachable):
                slurm.cancel([job] if job else [])
            if number:
                with contextlib.suppress(StoreError):
                    write(self.store, launch)
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
        executor = Executor(folder(self.store, sweep).absolute() / str(number))
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
