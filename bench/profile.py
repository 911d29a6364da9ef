"""The user's profile: where run stores and data sets lie, and what a site asks of every SLURM job, said once.

The file is `profile.toml` in the folder that the system keeps for a user's settings. What the environment or a grid's
`[slurm]` table says goes before it, and what the command line says goes before all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from bench.places import absolute, user_folder
from bench.plugins.settings import validated
from bench.plugins.toml import read_toml
from bench.protocol import Settings

#: what sbatch is told by bench itself: what `extra` would say of it breaks the jobs, or has a setting of its own
OURS = (
    *("account", "array", "chdir", "constraint", "cpus-per-task", "dependency", "error", "export", "gpus"),
    *("gpus-per-node", "job-name", "mem", "no-requeue", "ntasks", "nodes", "open-mode", "output", "parsable"),
    *("partition", "requeue", "signal", "test-only", "time", "uid", "wait", "wrap"),
)


def _option(text: str) -> str:
    option = re.fullmatch(r"--([a-z][a-z-]*)(=[^\x00-\x1f\x7f]+)?", text)
    if option is None:
        raise ValueError("it must be one long option of sbatch, such as --qos=long")
    # sbatch takes the beginning of an option for the option; no beginning of these is an option of another meaning
    if whole := _begun(option[1], OURS):
        raise ValueError(f"{whole} is said by bench itself")
    if whole := _begun(option[1], ("cluster", "clusters")):
        raise ValueError(f"{whole} sends jobs where nobody asks for them; SLURM_CONF says which cluster it is")
    return text


def _begun(name: str, options: Sequence[str]) -> str:
    """Return which of sbatch's options a name is, or begins, in words; empty where it is none."""
    if name in options:
        return f"--{name}"
    return next((f"--{name}, short for --{option}," for option in options if option.startswith(name)), "")


def _shell(line: str) -> str:
    if any(part.lstrip().startswith("#SBATCH") for part in line.splitlines()):
        raise ValueError("#SBATCH has no effect there; options of sbatch go into slurm.extra")
    return line


def _folder(path: str) -> str:
    if re.search(r"\$[A-Za-z_{]", path):
        raise ValueError("variables are not expanded here: write the folder out, or set BENCH_STORE or BENCH_DATA")
    return path


MOST = 1_000_000_000  # of whatever a job asks for


class Slurm(Settings):
    """The `[slurm]` table: what a SLURM job asks for, and how cells are spread over jobs."""

    partition: str | None = Field(None, min_length=1, description="the partition; the site's default when absent")
    account: str | None = Field(None, min_length=1, description="the account that is charged")
    constraint: str | None = Field(None, min_length=1, description="features that a node must have")
    gpus: int = Field(0, ge=0, le=MOST, description="GPUs of a job")
    per_gpu: Annotated[int, Field(ge=1, le=MOST)] | Literal["auto"] = Field(
        1, description="cells that share a GPU; `auto` measures how many bring most"
    )
    cpus: int = Field(1, ge=1, le=MOST, description="CPUs of a job; without GPUs, so many of its cells run at a time")
    memory: float | None = Field(None, gt=0, le=MOST, description="gigabytes of a job; the site's default when absent")
    time: int = Field(60, ge=1, le=MOST, description="minutes that a job may take before it has to queue again")
    parallel: int | None = Field(None, ge=1, le=MOST, description="jobs that may run at a time; all when absent")
    cells_per_job: int = Field(1, ge=1, le=MOST, description="cells that a job carries out, one after another")
    retries: int = Field(
        3, ge=0, le=MOST, description="how often a cell goes on after it was preempted, timed out or lost"
    )
    setup: list[Annotated[str, AfterValidator(_shell)]] = Field(
        [], description="lines of shell before a job starts, such as `module load cuda`"
    )
    extra: list[Annotated[str, AfterValidator(_option)]] = Field(
        [], description="further options of sbatch, such as --qos=long"
    )

    @property
    def further(self) -> dict[str, str | bool]:
        """The further options by their names; True for one without a value."""
        parts = (option.removeprefix("--").partition("=") for option in self.extra)
        return {name: value if equals else True for name, equals, value in parts}


class Profile(Settings):
    """The profile's file."""

    store: Annotated[str, AfterValidator(_folder)] | None = Field(
        None, min_length=1, description="the folder of run stores"
    )
    data: Annotated[str, AfterValidator(_folder)] | None = Field(
        None, min_length=1, description="the folder of data sets"
    )
    slurm: Slurm = Field(Slurm(), description="what every SLURM job asks for")


def file() -> Path:
    """Return where the profile lies, or would."""
    return user_folder("config") / "profile.toml"


def read() -> dict[str, Any]:
    """Return what the profile says, and no defaults; empty where there is none.

    Raises:
        UserError: it cannot be read, or says what is not allowed.
    """
    path = file()
    try:
        content = read_toml(path, f"the profile {path}", str(path))
    except FileNotFoundError:
        return {}
    validated(Profile, content, str(path), "profile")
    return content


def stores() -> Path:
    """Return the folder of run stores, where none was given: that of `BENCH_STORE`, else the profile's, else `runs`.

    Raises:
        UserError: the profile is wrong.
    """
    for folder, what in ((os.environ.get("BENCH_STORE"), "BENCH_STORE"), (read().get("store"), f"store in {file()}")):
        if folder:
            absolute(folder, what)  # which refuses what is no path; a relative one is shown as it is
            return Path(folder).expanduser()
    return Path("runs")


def slurm(grid: Mapping[str, Any], options: Mapping[str, Any]) -> Slurm:
    """Return what a job asks for: the command line's, else the grid's, else the profile's, else the default.

    Args:
        grid: the grid's `[slurm]` table.
        options: what the command line says, by field.

    Raises:
        UserError: the profile is wrong.
    """
    return validated(Slurm, {**read().get("slurm", {}), **grid, **options}, "[slurm]", "slurm")
