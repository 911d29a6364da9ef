"""What a GPU does: `make benchmark-gpu`, or `python tests/benchmarks/gpu.py PART`, each within ten minutes.

    correct  CPU against GPU, in scoring and in training; a graph against eager steps; killed and resumed
    epochs   seconds an epoch of MNIST and memory for every strategy, eager and captured; where a step's time goes
    cells    cells an hour against cells a GPU, with CUDA's multi-process service and without
    column   the MNIST column of the paper's table, ten seeds, scored; a call that runs out of time goes on in the next

Each part writes its section of `results/speed-gpu.md`. `--device cpu` tries the parts in a small way: no figure of it
is one of a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

import bench.grid as grids
from bench.contracts.replays import Recording
from bench.files import replacing
from bench.plugins import Registry, build
from bench.protocol import AisNll, Budget, Checkpoint, Dataset, Run, Score, State, Stopped, Task
from bench.strategy import Strategy as Base
from bench.sweep import sharing
from bench.sweep.progress import screen
from bench.sweep.requests import Plan, Request
from bench.training import capture

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "results" / "speed-gpu.md"
ERRORS = 5.0  # standard errors that two scores of one model may lie apart, of which there are some ten
SEEDS = 6
BETWEEN = 6.0  # standard errors between six seeds and six: t of five degrees of freedom exceeds it once in 500
CLOSE = 1e-3  # relative and absolute, of parameters after an epoch on one GPU, taken in two ways
COLUMN = ("normal", "vampprior", "sliced-score-matching", "adversarial")
ONE_EACH = {"strategy.vampprior.components": 16, "strategy.sliced-score-matching.variant": "sliced"}


@dataclass(frozen=True)
class Bench:
    """Where it is measured.

    Attributes:
        device: `cuda`, or `cpu` to try the parts.
        store: the folder of run stores.
        minutes: that the column may take in this call.
        per_gpu: cells of the column that share a GPU.
        wrong: what was found to be so.
    """

    device: str
    store: Path
    minutes: float
    per_gpu: sharing.Share
    wrong: list[str] = field(default_factory=list)

    @property
    def small(self) -> bool:
        """Whether parts are merely tried."""
        return self.device == "cpu"

    @property
    def card(self) -> str:
        """What the device calls itself."""
        return f"a CPU ({platform.machine()})" if self.small else torch.cuda.get_device_name()

    @property
    def graph(self) -> Any:
        """What steps are captured in."""
        return Recording if self.small else capture.usual

    def synchronise(self) -> None:
        """Wait for the device."""
        if not self.small:
            torch.cuda.synchronize()


# ---------------------------------------------------------------- what is trained


def tasks(
    grid: str, labels: Callable[[str], bool] = lambda _: True, every: bool = False
) -> dict[str, tuple[Any, Task]]:
    """Return strategy and task of a grid's rows, by label; of `every` built-in strategy, those that it lacks too."""
    registry = Registry()
    loaded = grids.load(grid, registry, seeds=1)
    names = {cell.strategy for cell in loaded.cells}
    missing = [
        name
        for name in (registry.names("strategy") if every else ())
        if name not in names and issubclass(registry.find("strategy", name).load(), Base)
    ]
    cells = [*loaded.cells, *(grids.load(grid, registry, seeds=1, strategies=missing).cells if missing else ())]
    rows: dict[str, tuple[Any, Task]] = {}
    for cell in cells:
        if not labels(cell.label):
            continue
        strategy = build(registry.find("strategy", cell.strategy), cell.hyper, "", registry.component)
        dataset = cast(Dataset, build(registry.find("dataset", cell.dataset), cell.options, "", registry.component))
        splits = dataset.load(Path(os.environ.get("BENCH_DATA", ROOT / ".data")))
        rows[cell.label] = (
            strategy,
            Task(dataset, splits, registry.networks(cell.networks, ""), cell.budget, cell.evaluation),
        )
    return rows


def parameters(state: State) -> dict[str, Tensor]:
    return {f"{group}.{name}": t.cpu() for group, own in state["modules"].items() for name, t in own.items()}


def apart(one: State, other: State) -> float:
    """Return the greatest difference of two states' parameters, over 1 + their size."""
    first, second = parameters(one), parameters(other)
    return max(float(((value - second[name]).abs() / (1 + value.abs())).max()) for name, value in first.items())


def fitted(strategy: Any, task: Task, device: str, folder: Path, kind: Any = capture.usual, **run: Any) -> State:
    with capture.by(kind):
        return cast(State, strategy.fit(task, Run(0, device, folder, **run)))


# ---------------------------------------------------------------- the parts


def correct(at: Bench) -> list[str]:
    """Say whether the device does what a CPU does."""
    rows = tasks("digits-full", lambda label: at.small is False or label in ("normal", "vampprior"))
    lines = [
        "A model of each row of `digits-full`, trained on a CPU for two epochs and scored there and on the device: the",
        f"greatest difference of two scores, in standard errors of their draws (at most {ERRORS:g}). {SEEDS} seeds",
        "trained on either: the difference of the mean loss in the last epoch, in standard errors between seeds (at",
        f"most {BETWEEN:g}). One trained on the device, captured and eager, and killed and resumed: the greatest",
        f"difference of two parameters p, over 1 + |p| (at most {CLOSE:g}).",
        "",
        "| strategy | scores | training | captured and eager | killed and resumed | steps |",
        "|---|---|---|---|---|---|",
    ]
    for label, (strategy, task) in rows.items():
        task = _short(task)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            trained = fitted(strategy, task, "cpu", folder / "cpu", capture.eager)
            moved = {g: {n: t.to(at.device) for n, t in own.items()} for g, own in trained["modules"].items()}
            there = cast(State, {**trained, "modules": moved})
            scored = strategy.evaluate(trained, task, Run(0, "cpu", folder)).scores
            again = strategy.evaluate(there, task, Run(1 if at.small else 0, at.device, folder)).scores
            errors = _standard_errors(scored, again)
            plain = fitted(strategy, task, at.device, folder / "eager", capture.eager)
            graph = fitted(strategy, task, at.device, folder / "graph", at.graph)
            resumed = _killed_and_resumed(label, strategy, task, at, folder / "killed")
            between = _between_seeds(strategy, task, at, folder)
        drift = (apart(plain, graph), apart(plain, resumed))
        taken = "captured" if graph["execution"]["captured"] else graph["execution"]["reason"]
        lines.append(f"| `{label}` | {errors:.1f} | {between:.1f} | {drift[0]:.1e} | {drift[1]:.1e} | {taken} |")
        if errors > ERRORS or between > BETWEEN or max(drift) > CLOSE:
            at.wrong.append(label)
    lines += ["", f"Beyond what is allowed: {', '.join(at.wrong) or 'none'}."]
    if not at.small:
        options = ["-q", "-p", "no:cacheprovider", "-m", "gpu", "-W", "ignore::pytest.PytestConfigWarning"]
        command = [sys.executable, "-m", "pytest", *options, "tests/training"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        at.wrong.extend(["pytest -m gpu"] * bool(done.returncode))
        lines += ["", f"`pytest -m gpu`: {(done.stdout.strip().splitlines() or ['no output'])[-1]}"]
    return lines


def _standard_errors(one: Sequence[Score], other: Sequence[Score]) -> float:
    """Return by how many standard errors of their draws scores differ that have some."""
    found = {score.metric.name: score for score in other}
    furthest = 0.0
    for score in one:
        again = found[score.metric.name]
        error = (score.stderr_mc**2 + again.stderr_mc**2) ** 0.5
        if error:
            # intervals of log Z are errors too
            slack = (score.sys_upper - score.sys_lower + again.sys_upper - again.sys_lower) / 2
            furthest = max(furthest, max(abs(score.value - again.value) - slack, 0) / error)
    return furthest


def _between_seeds(strategy: Any, task: Task, at: Bench, folder: Path) -> float:
    """Return by how many standard errors the last losses of seeds trained on a CPU and on the device differ."""
    devices = ("cpu", at.device)
    last: dict[int, list[float]] = {0: [], 1: []}
    for seed in range(SEEDS):
        for number, device in enumerate(devices):
            own = seed + SEEDS * number  # noise differs between devices anyway
            state = strategy.fit(task, Run(own, device, folder / f"seed-{own}"))
            first = state["curves"][0]["metric"]
            last[number].append([row["value"] for row in state["curves"] if row["metric"] == first][-1])
    error = sum(statistics.variance(values) / SEEDS for values in last.values()) ** 0.5
    return float(abs(statistics.mean(last[0]) - statistics.mean(last[1])) / error)


def _short(task: Task) -> Task:
    evaluation = task.evaluation.model_copy(update={"ais_nll": AisNll(images=0, simulated=0)})
    return replace(task, budget=Budget(epochs=2, checkpoint=Checkpoint(steps=5)), evaluation=evaluation)


def _killed_and_resumed(label: str, strategy: Any, task: Task, at: Bench, folder: Path) -> State:
    """Train until a process is killed, then on in this one."""
    process = multiprocessing.get_context("spawn").Process(target=_dying, args=(label, at.device, folder))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    return fitted(strategy, task, at.device, folder, at.graph)


def _dying(label: str, device: str, folder: Path) -> None:
    strategy, task = tasks("digits-full")[label]
    task = _short(task)
    asked = iter(range(task.budget.epochs * len(task.splits.train) // task.budget.batch_size * 2 // 3))

    def stop() -> bool:
        if next(asked, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    fitted(strategy, task, device, folder, stop_requested=stop)


class _Clock:
    """A `Run.stop_requested` that times steps, after some, for some seconds."""

    def __init__(self, at: Bench, seconds: float, first: int = 20) -> None:
        self.at, self.seconds, self.first = at, seconds, first
        self.steps, self.start, self.took = 0, 0.0, 0.0

    def __call__(self) -> bool:
        self.steps += 1
        if self.steps == self.first:
            self.at.synchronise()
            self.start = time.perf_counter()
        if self.steps <= self.first or time.perf_counter() - self.start < self.seconds:
            return False
        self.at.synchronise()
        self.took = (time.perf_counter() - self.start) / (self.steps - self.first)
        return True


def epochs(at: Bench) -> list[str]:
    """Measure seconds an epoch and memory."""
    grid = "digits" if at.small else "mnist"
    rows = tasks(grid, lambda label: not at.small or label in ("normal", "stein"), every=not at.small)
    lines = [
        f"`{grid}`; of strategies in two stages the first. Memory is the most that tensors took, in megabytes.",
        "",
        "| strategy | s an epoch, eager | captured | eager / captured | memory, eager | captured | steps |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, (strategy, task) in rows.items():
        took, memory, taken = [], [], ""
        for kind in (capture.eager, at.graph):
            clock = _Clock(at, 0.3 if at.small else 4.0)
            if not at.small:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            with tempfile.TemporaryDirectory() as name:
                try:
                    taken = fitted(strategy, task, at.device, Path(name), kind, stop_requested=clock)["execution"][
                        "reason"
                    ]
                except Stopped:
                    taken = _reason(Path(name))
            took.append(clock.took * (len(task.splits.train) // task.budget.batch_size))
            memory.append(0.0 if at.small else torch.cuda.max_memory_allocated() / 1e6)
        ratio = took[0] / took[1] if took[1] else float("nan")
        figures = f"{took[0]:.2f} | {took[1]:.2f} | {ratio:.1f} | {memory[0]:.0f} | {memory[1]:.0f}"
        lines.append(f"| `{label}` | {figures} | {taken or 'captured'} |")
        print(lines[-1], flush=True)
    for words, kind in (("eager", capture.eager), ("captured", at.graph)):
        lines += [
            "",
            f"Where 100 steps of `normal` spend their time, {words}:",
            "",
            "```",
            _profile(at, rows, kind),
            "```",
        ]
    return lines


def _reason(folder: Path) -> str:
    """Return why steps were not captured, from the last checkpoint in a folder."""
    from bench.files import load_tensors, sealed

    paths = [path for place in (folder, *folder.glob("*/")) for path in sealed(place, "checkpoint-")]
    return str(load_tensors(max(paths, key=lambda path: path.stat().st_mtime))["execution"]["reason"])


def _profile(at: Bench, rows: dict[str, tuple[Any, Task]], kind: Any) -> str:
    from torch.profiler import ProfilerActivity, profile

    strategy, task = rows["normal"]
    activities = [ProfilerActivity.CPU] if at.small else [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    profiler = profile(activities=activities)
    asked = iter(range(120))

    def stop() -> bool:
        number = next(asked, None)
        if number == 19:
            profiler.start()
        return number is None

    with tempfile.TemporaryDirectory() as name, contextlib.suppress(Stopped):
        fitted(strategy, task, at.device, Path(name), kind, stop_requested=stop)
    at.synchronise()
    profiler.stop()
    key = "self_cpu_time_total" if at.small else "self_device_time_total"
    table = profiler.key_averages().table(sort_by=key, row_limit=10, max_name_column_width=40)
    return "\n".join(line.rstrip() for line in str(table).splitlines())


def cells(at: Bench) -> list[str]:
    """Measure cells an hour against cells a GPU."""
    counts, seconds = ((1, 2), 1.0) if at.small else (sharing.COUNTS, sharing.SECONDS)
    with tempfile.TemporaryDirectory() as name:
        request = _request(at, "digits" if at.small else "mnist", Path(name), max(counts), ("normal",))
        survey = request.survey()
        plan = Plan(request, survey, survey.jobs())
        jobs, setup = plan._ready(), plan._setup(Path(name), at.device if at.small else "cuda:0")
        _, task = tasks(request.cells.name, lambda label: label == "normal")["normal"]
        per_cell = task.budget.epochs * (len(task.splits.train) // task.budget.batch_size)
        columns, said = [], list[str]()
        for services in (False, True):
            with sharing.served(said.append) if services else contextlib.nullcontext():
                columns.append([sharing.rate(setup, jobs[:count], seconds) for count in counts])
    lines = [
        f"`normal` of {request.cells.name}, training alone, {per_cell:,} steps a cell. The second column: {said[0]}.",
        "",
        "| cells a GPU | cells an hour, taking turns | with the service tried |",
        "|---|---|---|",
    ]
    for count, one, other in zip(counts, *columns, strict=True):
        hourly = [f"{3600 * rate / per_cell:,.0f}" if rate else "not measured" for rate in (one, other)]
        lines.append(f"| {count} | {hourly[0]} | {hourly[1]} |")
    return lines


def _request(at: Bench, grid: str, store: Path, seeds: int, strategies: Sequence[str], **more: Any) -> Request:
    data = Path(os.environ.get("BENCH_DATA", ROOT / ".data"))
    return Request(grid, strategies=strategies, seeds=seeds, store=store, data_dir=data, **more)


def column(at: Bench) -> list[str]:
    """Train and score the MNIST column, as far as time allows."""
    store = at.store / ("column-tried" if at.small else "column")
    grid, seeds, settings = ("digits", 1, {}) if at.small else ("mnist", 10, ONE_EACH)
    strategies = COLUMN[:1] if at.small else COLUMN
    request = _request(at, grid, store, seeds, strategies, settings=settings, say=print, display=screen)
    survey, start = request.survey(), time.monotonic()
    timer = threading.Timer(60 * at.minutes, os.kill, (os.getpid(), signal.SIGINT))
    timer.daemon = True
    timer.start()
    Plan(request, survey, survey.jobs()).carry_out(at.device, per_gpu=at.per_gpu)
    timer.cancel()
    elapsed = store / "elapsed.json"
    seconds = time.monotonic() - start + (json.loads(elapsed.read_text()) if elapsed.exists() else 0.0)
    with replacing(elapsed) as file:
        file.write(json.dumps(seconds).encode())
    counts = {state: number for state, number in request.survey().counts().items() if number}
    left = "" if set(counts) == {"ok"} else " It is not over: the same command goes on."
    stands = ", ".join(f"{number} {state}" for state, number in counts.items())
    what = f"`{grid}`, {', '.join(strategies)}, {seeds} seeds, trained and scored"
    return [
        f"{what}: {stands}, in {seconds / 60:.1f} minutes.{left}",
        f"Records: `{store}`; the table: `bench report --grid {grid} --store {store}`.",
    ]


PARTS: dict[str, Callable[[Bench], list[str]]] = {
    "correct": correct,
    "epochs": epochs,
    "cells": cells,
    "column": column,
}


# ---------------------------------------------------------------- what is written


def write(out: Path, part: str, lines: Sequence[str], at: Bench) -> None:
    """Put a part's section into the page, in place of an earlier one."""
    text = out.read_text(encoding="utf-8") if out.exists() else ""
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    where = f"On {at.card}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}."
    sections[part] = "\n".join(["", where, "", *lines])
    head = "# Speed on a GPU\n\nWritten by `make benchmark-gpu`, a section a part.\n\n"
    body = "\n\n".join(f"## {name}\n{sections[name].rstrip()}" for name in PARTS if name in sections)
    with replacing(out) as file:
        file.write(f"{head}{body}\n".encode())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure what a GPU does.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all when absent")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=OUT, help="the page")
    parser.add_argument("--store", type=Path, default=ROOT / "runs", help="the folder of run stores")
    parser.add_argument("--minutes", type=float, default=8.5, help="that `column` may take in this call")
    parser.add_argument("--per-gpu", type=int, help="cells of `column` that share a GPU; measured when absent")
    asked = parser.parse_args(arguments)
    if unknown := [part for part in asked.parts if part not in PARTS]:
        print(f'error: unknown part "{unknown[0]}"; there are: {", ".join(PARTS)}', file=sys.stderr)
        return 2
    if asked.device == "cuda" and not torch.cuda.is_available():
        print("error: there is no GPU: torch sees no CUDA device on this machine", file=sys.stderr)
        return 2
    at = Bench(asked.device, asked.store, asked.minutes, asked.per_gpu or (1 if asked.device == "cpu" else "auto"))
    for part in asked.parts or PARTS:
        lines = PARTS[part](at)
        write(asked.out, part, lines, at)
        print(f"{part}: {at.card}", *lines, sep="\n", flush=True)
    return 1 if at.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
