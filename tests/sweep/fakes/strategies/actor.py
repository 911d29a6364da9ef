"""A strategy that ends in whatever way it is told to."""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import os
import pickle
import random
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

import bench
from bench.protocol import Diverged, Metric, Run, Score, Scores, Settings, State, Stopped, Task

How = Literal[
    "ok", "nan", "skip", "diverge", "memory", "raise", "sys-exit", "killed", "segfault", "exit", "hang", "deaf", "loud",
    "long", "walk", "flaky", "write", "no-store", "objects", "eat", "flood", "tell",
    "no-state", "half-state", "no-scores"
]  # fmt: skip


class Pickles(ModuleType):
    """Stands for torch in a worker, which needs it only to write and read this strategy's state of plain types.

    The import of torch takes longer than all else that such a worker does.
    """

    def save(self, content: Any, file: Any) -> None:
        pickle.dump(content, file)

    def load(self, file: Any, **_: Any) -> Any:
        return pickle.load(file)

    def set_num_threads(self, number: int) -> None:
        pass


class Actor(Settings):
    """Ends as told."""

    name: ClassVar[str] = ""

    how: How = Field("ok", description="how to end")
    seconds: float = Field(0.0, ge=0, description="how long `long` and `walk` take")
    lines: int = Field(1, ge=1, description="how much `loud` prints; of `flood`, megabytes")

    def skip(self, task: Task) -> str | None:
        if multiprocessing.parent_process():  # a worker, and not the process of the tests
            sys.modules.setdefault("torch", Pickles("torch"))
        return "the task is not to its\ntaste" if self.how == "skip" else None

    def fit(self, task: Task, run: Run) -> State:
        print(f"training as {self.how}, seed {run.seed}")
        if "cuda" in run.device:
            print(f"device {run.device} of {os.environ.get('CUDA_VISIBLE_DEVICES')}", file=sys.stderr)
        getattr(self, f"_{self.how}".replace("-", "_"), lambda *_: None)(task, run)
        if self.how in ("no-state", "half-state"):
            return None if self.how == "no-state" else {"modules": {}, "steps": 4}  # type: ignore[return-value, typeddict-item]
        step = self._steps(run) if self.how in ("long", "walk") else 4
        return {
            "modules": {},
            "steps": step,
            "curves": [{"epoch": 0, "step": np.int64(4), "metric": "bound", "value": np.float32(1.5)}],
            "stability": {"resumed_at": float(self._resumed)} | ({"place": self._place} if self.how == "walk" else {}),
            "resources": {"overhead_seconds": 0.5, "peak_device_bytes": 0.0},
        }

    def evaluate(self, state: State, task: Task, run: Run) -> Scores:
        print("scoring", file=sys.stderr)
        if self.how == "no-scores":
            return {"vlb": 2.0}  # type: ignore[return-value]
        value = float("nan") if self.how == "nan" else 2.0 + run.seed + float(task.splits.train.flat[0])
        value = state["stability"]["place"] if self.how == "walk" else value
        if isinstance(sys.modules.get("torch"), Pickles):
            del sys.modules["torch"]  # the next cell's strategy may need the real one
        score = Score(Metric("vlb", "nats"), value, 4, "monte-carlo", 0.3, 0.4, value, value)
        kind = object if self.how == "objects" else float
        return Scores([score], {"samples": np.zeros((2, 2), kind)}, {"evaluate_seconds": 0.25})

    # ------------------------------------------------------------ ways to end

    _resumed: int = 0
    _place: float = 0.0

    def _steps(self, run: Run) -> int:
        """Walk 100 steps in `seconds`, from the checkpoint, saving each; a wrong one changes all later places."""
        checkpoint = run.folder / "step"
        start, place = checkpoint.read_text().split() if checkpoint.exists() else ("0", "0x0p0")
        object.__setattr__(self, "_resumed", int(start))
        object.__setattr__(self, "_place", float.fromhex(place))
        for step in range(int(start) + 1, 101):
            time.sleep(self.seconds / 100)
            noise = random.Random(f"{run.seed} {step}").random()
            object.__setattr__(self, "_place", math.sin(37 * self._place + noise))
            temporary = run.folder / f"step.{os.getpid()}"
            temporary.write_text(f"{step} {self._place.hex()}")
            temporary.replace(checkpoint)
            run.progress(stage="fit", done=step, total=100, bound=float(step))
            if run.stop_requested():
                raise Stopped(f"at step {step}")
        return 100

    def _diverge(self, task: Task, run: Run) -> None:
        curve = {"epoch": 0, "step": 2, "metric": "bound", "value": 9.0}
        raise Diverged("the loss is not finite", 3, {"gradient_max_prior": 1e9}, [curve])

    def _memory(self, task: Task, run: Run) -> None:
        raise MemoryError("no room")

    def _raise(self, task: Task, run: Run) -> None:
        run.progress(stage="fit", done=2, total=4, note="text is not shown")
        raise ValueError("a mistake\nin the plugin")

    def _sys_exit(self, task: Task, run: Run) -> None:
        sys.exit(3)

    def _killed(self, task: Task, run: Run) -> None:
        run.progress(stage="fit", done=2, total=4)
        os.kill(os.getpid(), signal.SIGKILL)

    def _segfault(self, task: Task, run: Run) -> None:
        ctypes.string_at(0)

    def _exit(self, task: Task, run: Run) -> None:
        os._exit(7)

    def _tell(self, task: Task, run: Run) -> None:
        print(f"word {os.environ.get('A_WORD')}, bench in {Path(bench.__file__).parents[1]}")

    def _hang(self, task: Task, run: Run) -> None:
        time.sleep(1000)

    def _eat(self, task: Task, run: Run) -> None:
        eaten = []
        for _ in range(80):
            eaten.append(bytearray(os.urandom(1)) * 50_000_000)
            time.sleep(0.05)

    def _deaf(self, task: Task, run: Run) -> None:
        ctypes.PyDLL(None).sleep(1000)  # unlike time.sleep, it lets no other Python thread run

    def _loud(self, task: Task, run: Run) -> None:
        for line in range(self.lines):
            os.write(1, f"{line:07} {'x' * 91}\n".encode())  # past Python's own streams, as a library would

    def _flood(self, task: Task, run: Run) -> None:
        for _ in range(self.lines):
            rest = memoryview(b"x" * 1_000_000)
            while rest:
                rest = rest[os.write(1, rest) :]

    def _flaky(self, task: Task, run: Run) -> None:
        seen = run.folder / "seen"
        if not seen.exists():
            seen.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def _write(self, task: Task, run: Run) -> None:
        np.add(task.splits.train, 1, out=task.splits.train)  # its own copy: no later cell may see this

    def _no_store(self, task: Task, run: Run) -> None:
        cell = run.folder.parent
        cell.rename(cell.with_name("moved"))
        cell.write_text("a file stands where the cell's folder was")
