"""Whatever lies in a store, every command ends soon, in words, and with no other numbers than were written."""

from __future__ import annotations

import copy
import io
import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench
from bench.files import json_bytes, sha256
from bench.protocol import UserError
from bench.report import Records, report
from bench.sweep import status
from bench.sweep.attempts import Attempt
from bench.sweep.record import Record
from bench.sweep.seal import sealed
from bench.sweep.slurm import launches
from bench.sweep.slurm.launches import Array, Launch
from bench.sweep.store import Store, file_beside
from tests.report.conftest import Synthetic

LIMIT = 10.0  # seconds a command may take
LABELS = ("normal", "vampprior")
#: what no writer puts where it is found
ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 10**30, -(10**18), 10**18, 1e308, float("nan"), float("-inf"), 0.5),
    *("", "../../x", "a/b", "\x1b[31m", "=1+1", "x" * 5000, "²", "\u202e", "9" * 400),
    *([], {}, [[]], [None], {"": None}, {"kind": 3}, [10**30], {"a": {"b": {"c": [1]}}}),
)
Damage = Callable[[Path, random.Random], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    """A store with records, arrays, curves, attempts and a launch."""
    made = Synthetic(tmp_path_factory.mktemp("whole") / "digits", "digits", strategies=LABELS, seeds=3)
    for label in LABELS:
        for seed in (0, 1):
            curve = [{"epoch": n, "step": n, "metric": "bound", "value": 0.5 * n} for n in range(3)]
            own: Any = np.random.default_rng(seed).normal(-20, 1, (2, 100)).astype(np.float32)
            pictures: dict[str, Any] = {
                "samples_prior": np.zeros((64, 64), np.float32),
                "points_data": np.zeros((5, 2)),
            }
            made.put(label, seed, -20.0 - seed, curves=curve, arrays={"vlb": own[0], "nll": own[1], **pictures})
        made.put(label, 2, status="error", reason="it broke")
        made.store.begin(made.cell(label, 2), "sweep")
    made.store.extend((2, 3))
    cell = made.cell("normal", 2).id
    launches.write(made.store, Launch("s", "2026", {}, {}, {cell: "0" * 16}, {}, [Array("12", [[cell]])]))
    return made


# ---------------------------------------------------------------- damage


def flipped(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(draw.choice([1, 1, 2, 20])):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def cut(path: Path, draw: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(len(content))])


def empty(path: Path, draw: random.Random) -> None:
    path.write_bytes(b"")


def nested(path: Path, draw: random.Random) -> None:
    path.write_bytes(draw.choice([b"[", b'{"a":']) * draw.choice([50, 900, 100_000]))


def huge(path: Path, draw: random.Random) -> None:
    path.write_bytes(b'{"seeds": ' + b"9" * 5000 + b"}")


def folder(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path, draw: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def loop(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.symlink_to(draw.choice([path.name, "nowhere", "/dev/zero", "/dev/full"]))


def gone(path: Path, draw: random.Random) -> None:
    path.unlink()


BLIND: tuple[Damage, ...] = (flipped, flipped, cut, cut, empty, nested, huge, folder, pipe, loop, gone)


def forged(path: Path, draw: random.Random) -> None:
    """Change values as somebody would who knows how files are sealed."""
    content = json.loads(path.read_bytes())
    for _ in range(draw.choice([1, 1, 2])):
        _mutate(content, draw)
    seal = isinstance(content, dict) and content.pop("sha256", None) is not None
    path.write_bytes(sealed(json_bytes(content)) if seal else json_bytes(content))


def _mutate(content: Any, draw: random.Random) -> None:
    place, key = content, None
    while isinstance(place, dict | list) and place:
        key = draw.choice(list(place)) if isinstance(place, dict) else draw.randrange(len(place))
        if not isinstance(place[key], dict | list) or not place[key] or draw.random() < 0.25:
            break
        place = place[key]
    if key is None:
        return
    act = draw.random()
    if act < 0.1:
        del place[key]
    elif act < 0.2 and isinstance(place, dict):
        place[draw.choice(["", "new", "sha256", "\x1b"])] = copy.deepcopy(draw.choice(ODD))
    else:
        place[key] = copy.deepcopy(draw.choice(ODD))


def strange(path: Path, draw: random.Random) -> None:
    """Put other arrays beside a record, as its own."""
    record = next(path.parent.glob("record-*.json"))
    values: Any = draw.choice(
        [
            np.array(["a", "b"]),
            np.zeros((0,)),
            np.zeros((3, 0, 2)),
            np.full(100, np.nan),
            np.array(3),
            np.zeros(100, "datetime64[s]"),
            np.zeros(100, complex),
            np.zeros(7, [("a", "f4")]),
            np.full(100, 2**63 - 1),
            np.zeros((64, 63), np.float32),
        ]
    )
    names = ["vlb", "nll", "samples_prior", "points_data", "nll_items", "x\x1b/../y"]
    names += ["latents_posterior", "latents_prior", "latents_share", "items", "reconstructions"]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict.fromkeys(draw.sample(names, 4), values))
    content = json.loads(record.read_bytes())
    content.pop("sha256")
    content["digests"]["arrays"] = sha256(buffer.getvalue())
    key = record.stem.removeprefix("record-")
    path.with_name(file_beside("arrays", key, content["digests"]["arrays"])).write_bytes(buffer.getvalue())
    record.write_bytes(sealed(json_bytes(content)))


# ---------------------------------------------------------------- what is looked at


def numbers(records: list[Record]) -> set[tuple[Any, ...]]:
    return {
        (record.cell, record.status, *(value for score in record.scores for value in vars(score).values()))
        for record in records
    }


def look(made: Synthetic, damaged: Path, out: Path, draws: bool) -> list[Record]:
    """Do what every command does with a store that reads it; return the records that were read."""
    store = Store(damaged)
    survey = status.survey(made.grid, store, made.registry)
    list(status.explanations(survey)), status.table(survey), json.dumps(status.as_json(survey))
    survey.extends()
    launches.read(store), launches.unread(store)
    for standing in survey.standings:
        assert all(isinstance(attempt, Attempt) for attempt in store.history(standing.cell.id))
    shown = []
    acts: tuple[Callable[[], str], ...] = (
        lambda: report(Records(made.grid, [damaged], made.registry), out) if draws else "",
        lambda: repr(bench.results(damaged)),
        lambda: str(bench.results(damaged).curves()),
        lambda: str(bench.results(damaged).frame()),
        lambda: str([cell.arrays for cell in bench.results(damaged).cells]),
    )
    for act in acts:
        try:
            shown.append(act())
        except UserError as error:
            shown.append(str(error))
    assert not [sign for text in shown for sign in text if not sign.isprintable() and sign != "\n"]
    return store.records()


def trial(made: Synthetic, home: Path, seed: int, draws: bool = True) -> str:
    """Damage a copy of a store, look at it, and return what went wrong; nothing where all is well."""
    draw = random.Random(seed)
    damaged = home / f"store-{seed}"
    shutil.copytree(made.folder, damaged)
    files = sorted(path for path in damaged.rglob("*") if path.is_file())
    choice = draw.random()
    if choice < 0.5:
        act: Damage = draw.choice(BLIND)
        path = draw.choice(files)
    elif choice < 0.9:
        act, path = forged, draw.choice([path for path in files if path.suffix == ".json"])
    else:
        act, path = strange, draw.choice([path for path in files if path.suffix == ".npz"])
    act(path, draw)
    start = time.monotonic()
    try:
        read = look(made, damaged, home / f"out-{seed}", draws)
    except Exception as error:
        return f"{seed}: {act.__name__} {path.name}: {type(error).__name__}: {error}"
    finally:
        took = time.monotonic() - start
        shutil.rmtree(damaged)
        shutil.rmtree(home / f"out-{seed}", ignore_errors=True)
    if took > LIMIT:
        return f"{seed}: {act.__name__} {path.name}: {took:.0f} s"
    if act in BLIND and not numbers(read) <= numbers(made.store.records()):
        return f"{seed}: {act.__name__} {path.name}: other numbers were read"
    return ""


@pytest.mark.filterwarnings("ignore")
def test_some_damaged_stores(whole: Synthetic, tmp_path: Path) -> None:
    assert not [said for seed in range(12) if (said := trial(whole, tmp_path, seed, draws=seed % 6 == 0))]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(10))
def test_a_thousand_damaged_stores(whole: Synthetic, tmp_path: Path, part: int) -> None:
    seeds = range(1000 + 100 * part, 1100 + 100 * part)
    assert not [said for seed in seeds if (said := trial(whole, tmp_path, seed, draws=seed % 4 == 0))]
