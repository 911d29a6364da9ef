"""Show that a change of bench's code left every number as it was: `make equal BEFORE=COMMIT`.

Every row of every grid with records in `results/` is trained for two epochs, seed 0, and scored with little effort, by
the code of that commit and by that of the working tree. If all their numbers are equal, bit for bit,
`bench/sweep/equal.toml` says so, and records of the code before are not stale.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from bench import files
from bench.report.stored import gather
from bench.sweep.fingerprints import EQUAL, Fingerprints, fingerprints
from bench.sweep.store import BESIDE, Store

ROOT = Path(__file__).resolve().parent.parent
LITTLE: dict[str, Any] = {
    "images": 100,
    "importance_samples": 20,
    "ais": {"temperatures": 20, "chains": 20},
    "ais_nll": {"images": 4, "simulated": 4, "temperatures": 20},
}


def main() -> int:
    """Train, score, compare; return the exit code."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("before", help="the commit before the change")
    words.add_argument("--jobs", default="2", help="worker processes")
    words.add_argument("--store", type=Path, help="a folder that keeps the records, so that the same command goes on")
    options = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "before")
        made = subprocess.run(["git", "archive", options.before], cwd=ROOT, capture_output=True, check=False)
        if made.returncode:
            print(f"error: there is no commit {options.before}", file=sys.stderr)
            return 2
        tree.mkdir()
        subprocess.run(["tar", "-x", "-C", tree], input=made.stdout, check=True)
        before, after = fingerprints([], tree / "bench"), fingerprints([])
        if not before.changed(after):
            print("nothing to show: the code did not change, or is known to give the same numbers")
            return 0
        stores = options.store or Path(folder, "stores")
        count = cells = 0
        for grid in committed():
            for side, code in (("before", tree), ("after", ROOT)):
                train(grid, code, stores / side / grid.stem, options.jobs)
            ours, theirs = (numbers(stores / side / grid.stem) for side in ("before", "after"))
            if different := differences(ours, theirs):
                print(f"{grid.stem}: {len(different)} of {len(ours)} differ, such as {different[0]}")
                return 1
            count, cells = count + len(ours), cells + len({cell for cell, _ in ours})
            print(f"{grid.stem}: equal", flush=True)
    add(before, after, f"{cells} cells, {count} numbers and arrays; torch {torch.__version__}, {platform.machine()}")
    return 0


def committed() -> list[Path]:
    """Return the grids that have records in `results/`."""
    parts = ("-curves", "-items")
    names = [file.stem for file in sorted(ROOT.glob("results/*.parquet")) if not file.stem.endswith(parts)]
    own = [(ROOT / "results" / f"{name}.toml", ROOT / "bench" / "grids" / f"{name}.toml") for name in names]
    return [first if first.exists() else second for first, second in own]


def train(grid: Path, code: Path, store: Path, jobs: str) -> None:
    """Carry out the cells of a grid, by the code of a tree, with little effort.

    Raises:
        SystemExit: not every cell ended well.
    """
    content = tomllib.loads(grid.read_text())
    changes = ["train.epochs=2", *_settings("evaluate", content.get("evaluate", {}), LITTLE)]
    if "schedule" in content["train"]:
        changes.append("train.schedule.epochs=1")
    chosen = [word for change in changes for word in ("--set", change)]
    command = [sys.executable, "-m", "bench", "run", "--grid", str(grid), "--seeds", "0,", *chosen]
    command += ["--plugins", str(ROOT / "results" / "plugins"), "--store", str(store), "--jobs", jobs]
    paths = {"PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=code, env=os.environ | paths, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {grid.stem} cannot be compared: {(done.stderr or done.stdout)[-1000:]}")


def _settings(place: str, there: Mapping[str, Any], little: Mapping[str, Any]) -> Iterator[str]:
    """Give `--set` values; what a grid leaves out altogether by a 0 stays so."""
    for name, value in little.items():
        if isinstance(value, dict):
            yield from _settings(f"{place}.{name}", there.get(name, {}), value)
        elif there.get(name, value):
            yield f"{place}.{name}={value}"


def numbers(folder: Path) -> dict[tuple[str, str], Any]:
    """Return every number of a run store, by cell and name: as text, as bytes, or the SHA-256 of a whole file."""
    store = Store(folder)
    found: dict[tuple[str, str], Any] = {}
    for outcome in gather([folder]):
        named: dict[str, Any] = {score.metric: repr(score) for score in outcome.scores}
        named |= {f"stability {name}": repr(value) for name, value in outcome.stability.items()}
        named |= {part: outcome.digests.get(part) for part in BESIDE}
        for module, parameters in store.state(outcome)["modules"].items():
            named |= {f"{module} {name}": tensor.numpy().tobytes() for name, tensor in parameters.items()}
        found |= {(outcome.cell, name): value for name, value in named.items()}
    return found


def differences(first: Mapping[tuple[str, str], Any], second: Mapping[tuple[str, str], Any]) -> list[str]:
    """Return the names of what is in one alone or is not the same."""
    return [" ".join(name) for name in sorted(first.keys() | second.keys()) if first.get(name) != second.get(name)]


def add(before: Fingerprints, after: Fingerprints, shown: str) -> None:
    """Add an entry to `equal.toml`."""
    entry = f"""
[[change]]
fit = [
  "{before.fit}",
  "{after.fit}",
]
evaluate = [
  "{before.evaluate}",
  "{after.evaluate}",
]
shown = "{datetime.date.today()}: {shown}"
"""
    with files.replacing(EQUAL) as file:
        file.write(EQUAL.read_bytes() + entry.encode())
    print(f"written to {EQUAL.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
