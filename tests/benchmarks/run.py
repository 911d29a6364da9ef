"""Every figure of speed, as a ratio of interleaved runs, into `results/speed.md`: `make benchmark`.

A contender is a process of its own. Those of a race take turns; a ratio is the median over rounds of the ratios of
their processor time. Nothing else should run.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
RIVAL = ROOT / "build" / "pythae"
ROUNDS = 11
FORMS = {"sizes": ",", "values": ".2g"}  # of what `growth.py` tells


@dataclass(frozen=True)
class Contender:
    """Where it is found and which `bench` it sees."""

    file: str
    name: str
    tree: Path = ROOT
    python: Path = Path(sys.executable)
    threads: int = 1


class Process:
    """A contender that runs."""

    def __init__(self, contender: Contender) -> None:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(contender.tree), str(HERE)]),
            "OMP_NUM_THREADS": str(contender.threads),
        }
        command = [str(contender.python), str(HERE / "contender.py"), str(HERE / contender.file), contender.name]
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self.process = subprocess.Popen(
            command, env=environment, cwd="/", text=True, stderr=self.log, stdin=PIPE, stdout=PIPE
        )

    def ask(self, turns: int) -> None:
        """Have it take turns."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{turns}\n")
        self.process.stdin.flush()

    def answer(self) -> float:
        """Return the seconds of processor time that they took."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise RuntimeError(self.log.read().decode(errors="replace")[-2000:])
        return float(line)

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


@contextmanager
def running(*contenders: Contender) -> Iterator[list[Process]]:
    """Start contenders, and wait until each is ready."""
    processes = [Process(contender) for contender in contenders]
    try:
        for process in processes:
            process.ask(1)
            process.answer()
        yield processes
    finally:
        for process in processes:
            process.close()


def race(contenders: list[Contender], seconds: float = 0.4) -> list[list[float]]:
    """Return the seconds of a turn of each contender in each round; a round gives each about as many seconds."""
    with running(*contenders) as processes:
        turns = []
        for process in processes:
            process.ask(3)
            turns.append(max(1, round(seconds / (process.answer() / 3))))
        rounds: list[list[float]] = [[] for _ in processes]
        for _ in range(ROUNDS):
            for process, count, times in zip(processes, turns, rounds, strict=True):
                process.ask(count)
                times.append(process.answer() / count)
    return rounds


@dataclass
class Row:
    """A line of the table."""

    figure: str
    value: str
    must: str = ""
    aim: str = ""


@dataclass
class Table:
    """What is measured."""

    before: Path | None
    rival: Path | None
    rows: list[Row] = field(default_factory=list)

    def add(self, figure: str, value: str, must: str = "", aim: str = "") -> None:
        """Add a line, and show it."""
        self.rows.append(Row(figure, value, must, aim))
        print(f"{figure}: {value}" + (f" (must be {must})" if must else ""), flush=True)

    def ratios(
        self, figures: dict[str, tuple[int, int, str, str]], contenders: list[Contender], more: float = 1
    ) -> None:
        """Race; add figure -> (numerator, denominator, must, aim)."""
        times = race(contenders)
        for figure, (over, under, must, aim) in figures.items():
            found = sorted(more * a / b for a, b in zip(times[over], times[under], strict=True))
            low, high = found[len(found) // 4], found[-1 - len(found) // 4]
            self.add(figure, f"{statistics.median(found):.2f} ({low:.2f} to {high:.2f})", must, aim)

    def seconds(self, figure: str, file: str, name: str, times: float, must: str, aim: str) -> None:
        """Add the seconds of a turn, `times` so many."""
        (turns,) = race([Contender(file, name)])
        self.add(figure, f"{times * statistics.median(turns):.2f}", must, aim)


# ---------------------------------------------------------------- the figures


def training(table: Table) -> None:
    """Steps of training over the loop by hand, and over each other."""
    contenders = [Contender("training.py", name) for name in (
        "normal", "bare_default", "bare_fused", "products", "score_matching", "vampprior_16", "vampprior_500",
        "adversarial", "variance_reduced",
    )]  # fmt: skip
    table.ratios(
        {
            "step of `normal` over the bare loop, default Adam": (0, 1, ".70", ".60"),
            "the same, fused Adam": (0, 2, "1.00", ".85"),
            "the same over its matrix products alone": (0, 3, "", ""),
            "step of sliced score matching over that of `normal`": (4, 0, "1.15", "1.08"),
            "the same in its variance-reduced form": (8, 0, "", ""),
            "VampPrior, 16 components, over `normal`": (5, 0, "", ""),
            "VampPrior, 500 components, over `normal`": (6, 0, "2.2", "1.8"),
            "`adversarial` over `normal`": (7, 0, "2.6", "2.0"),
        },
        contenders,
    )
    table.ratios(
        {"convolutions of CIFAR-10, channels last over contiguous": (0, 1, ".93", ".88")},
        [Contender("training.py", "channels_last"), Contender("training.py", "contiguous")],
    )


def earlier(table: Table) -> None:
    """The same steps over those of the commit before."""
    if table.before is None:
        return
    for name in ("normal", "score_matching", "vampprior_500", "adversarial"):
        figure = f"step `{name}` over that of the commit before"
        table.ratios(
            {figure: (0, 1, "", "")},
            [Contender("training.py", name), Contender("training.py", name, table.before)],
        )


def rival(table: Table) -> None:
    """Images a second over pythae's."""
    if table.rival is None:
        return
    for figure, name, other, must, aim in (
        ("images a second over pythae's: VAE", "normal", "vae", "1.5", "2"),
        ("the same, VampPrior, 16 components", "vampprior_16", "vampprior_16", "1.5", "1.8"),
        ("the same, VampPrior, 500 components", "vampprior_500", "vampprior_500", "3.2", "4"),
    ):
        pair = [Contender("rival.py", other, python=table.rival), Contender("training.py", name)]
        table.ratios({figure: (0, 1, f">= {must}", f">= {aim}")}, pair)


def scoring(table: Table) -> None:
    """What scoring costs."""
    nll, products, by_hand, mixture = (Contender("scoring.py", name) for name in (
        "nll", "nll_products", "nll_by_hand", "nll_vampprior_500"))  # fmt: skip
    table.ratios(
        {
            "importance-weighted NLL, S = 1,000, over its matrix products": (0, 1, "1.6", "1.3"),
            "the same over a naive loop": (0, 2, "", ""),
            "the same under VampPrior-500 over N(0, I)": (3, 0, "", ""),
        },
        [nll, products, by_hand, mixture],
    )
    if table.rival is not None:
        for figure, ours, name, must, aim in (
            ("images scored a second over pythae's `get_nll`, N(0, I)", nll, "nll", "2.8", "3.5"),
            ("the same, VampPrior-500", mixture, "nll_vampprior_500", "15", "20"),
        ):
            pair = [Contender("rival.py", name, python=table.rival), ours]
            table.ratios({figure: (0, 1, f">= {must}", f">= {aim}")}, pair, more=30 / 2)  # images a turn
    table.seconds(
        "AIS, GRBM 64x64, 500 chains x 1,000 temperatures, one base, seconds", "scoring.py", "ais_grbm", 10, "1.0", ".7"
    )


def sweeping(table: Table) -> None:
    """What a sweep costs beside its cells."""
    table.seconds("an empty cell, ms", "sweeping.py", "empty_cells", 10, "3", "1")  # 100 cells a turn
    table.seconds("a finished cell in a rerun of 1,000, ms", "sweeping.py", "rerun", 1, ".3", ".1")


def growth(table: Table) -> None:
    """Whether what a cell costs grows with their number."""
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "growth.py")]
    lines = subprocess.run(command, check=True, stdout=PIPE, text=True, env=os.environ | paths, cwd="/").stdout
    for line in map(json.loads, lines.splitlines()):
        sizes, values = (", ".join(f"{number:{form}}" for number in line[key]) for key, form in FORMS.items())
        table.add(f"{line['figure']} {sizes}", values, "does not grow")


def two_cells(table: Table, steps: int = 150) -> None:
    """Two cells at once, a thread each, over one after the other with two threads: in seconds of the clock."""
    one, two = Contender("training.py", "normal"), Contender("training.py", "normal", threads=2)
    found = []
    with running(one, one, two) as (first, second, both):
        for _ in range(5):
            start = time.perf_counter()
            for process in (first, second):
                process.ask(steps)
            for process in (first, second):
                process.answer()
            beside = time.perf_counter() - start
            start = time.perf_counter()
            both.ask(2 * steps)
            both.answer()
            found.append((time.perf_counter() - start) / beside)
    table.add(
        "two cells: 2 processes x 1 thread over 1 process x 2 threads",
        f"{statistics.median(found):.2f}",
        ">= 1.7",
        ">= 1.85",
    )


def commands(table: Table) -> None:
    """Seconds that a command takes."""
    for words, must, aim in (("--help", ".15", ".12"), ("list", ".25", ".2")):
        with tempfile.TemporaryDirectory() as bytecode:  # as users have it, whatever this process's environment says
            seconds = [_command(words, bytecode) for _ in range(ROUNDS + 1)][1:]
        table.add(f"`bench {words}`, seconds", f"{statistics.median(seconds):.3f}", must, aim)


def _command(words: str, bytecode: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "bench", *words.split()]
    paths = {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run(command, check=True, capture_output=True, env=os.environ | paths, cwd="/")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


PARTS: dict[str, Callable[[Table], None]] = {
    "training": training,
    "scoring": scoring,
    "sweeps": sweeping,
    "growth": growth,
    "before": earlier,
    "pythae": rival,
    "cells": two_cells,
    "commands": commands,
}


# ---------------------------------------------------------------- what is needed for them


def installed() -> Path | None:
    """Return the Python of an environment that has pythae, made where there is none; None where it cannot be had."""
    python = RIVAL / "bin" / "python"
    if not python.exists():
        print("installing pythae into build/pythae", flush=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        steps = (
            [sys.executable, "-m", "venv", str(RIVAL)],
            [*pip, "--constraint", str(ROOT / "constraints.txt"), "torch"],
            [*pip, "--constraint", str(ROOT / "constraints.txt"), "pythae==0.1.2"],
        )
        if any(subprocess.run(step, check=False).returncode for step in steps):
            shutil.rmtree(RIVAL, ignore_errors=True)
            print("pythae cannot be installed; its figures are left out", flush=True)
            return None
    return python


@contextmanager
def checked_out(commit: str) -> Iterator[Path | None]:
    """Give a folder with the files of a commit; None where there is no such commit."""
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
        if made.returncode:
            print(f"there is no commit {commit}; figures over it are left out", flush=True)
            yield None
            return
        subprocess.run(["tar", "-x", "-C", folder], input=made.stdout, check=True)
        yield Path(folder)


def machine() -> str:
    """Return the processor's name."""
    with Path("/proc/cpuinfo").open() as lines:
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {len(names)} cores, {platform.system()}"


def written(table: Table, before: str) -> str:
    """Return the page."""
    import torch

    git = ["git", "rev-parse", "--short=10"]
    commit, earlier_one = (
        subprocess.run([*git, name], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
        for name in ("HEAD", before)
    )
    lines = [f"| {row.figure} | {row.value} | {row.must} | {row.aim} |" for row in table.rows]
    return f"""# Speed

Measured on {datetime.date.today()} on {machine()}; torch {torch.__version__}, one thread, commit {commit}. The commit
before is {earlier_one}. Made by `make benchmark`.

A ratio is the median over {ROUNDS} rounds in which the two take turns, in processor time. Quartiles are in brackets.
Less is better, but where `>=` stands.

| figure | measured | must be | aim |
|---|---|---|---|
{chr(10).join(lines)}
"""


def main() -> None:
    """Measure what is asked for, all by default, and write the page if it is all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--before", default="HEAD^", help="the commit that is compared with (default: HEAD^)")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; allowed: {', '.join(PARTS)}")
    parts = given.parts or list(PARTS)
    with checked_out(given.before) as before:
        table = Table(before, installed() if {"pythae", "scoring"} & {*parts} else None)
        for part in parts:
            PARTS[part](table)
    page = written(table, given.before)
    if parts == list(PARTS):
        (ROOT / "results" / "speed.md").write_text(page)


if __name__ == "__main__":
    main()
