"""What every verb does with a run store of a stranger: nothing in it is executed, and none goes on in it unasked."""

from __future__ import annotations

import hashlib
import pickle
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

from bench import cli
from bench.files import json_bytes
from bench.protocol import UserError
from bench.sweep.attempts import key, workspace
from bench.sweep.seal import sealed
from bench.sweep.slurm import launches
from bench.sweep.slurm.launches import Array, Launch
from tests.report.conftest import Synthetic

PLUGIN = "from pathlib import Path\n\nPath({mark!r}).write_text('a plugin was executed')\n"
GRID = ["--grid", "digits", "--strategy", "normal", "--seeds", "3"]
#: verb -> what follows it, with `{store}` and `{file}`, and whether it needs --trust there
VERBS: dict[str, tuple[list[str], bool]] = {
    "cancel": ([*GRID, "--store", "{store}"], True),
    "check": (["{file}"], False),
    "collect": ([*GRID, "--store", "{store}"], False),
    "data": (["digits"], False),
    "export": (["{new}", "--store", "{store}"], False),
    "import": (["{file}", "--store", "{new}"], False),
    "list": ([], False),
    "logs": (["{cell}", "--store", "{store}"], False),
    "new": (["strategy", "mine"], False),
    "report": (["--grid", "digits", "--store", "{store}"], False),
    "retry": ([*GRID, "--store", "{store}"], True),
    "run": ([*GRID, "--store", "{store}"], True),
    "score": ([*GRID, "--store", "{store}"], True),
    "status": ([*GRID, "--store", "{store}", "--why"], False),
    "tune": (["--grid", "{tuned}", "--trials", "1", "--store", "{store}"], True),
}
#: verbs that look at no run store
STORELESS = ("check", "data", "list", "new")


class Bomb:
    """Goes off where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.write_text, (self.mark, "a pickle was loaded")


@pytest.fixture
def theirs(here: Path, monkeypatch: pytest.MonkeyPatch) -> Synthetic:
    """A store with hostile files in all places from which something is loaded."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "cache"))
    monkeypatch.setenv("PATH", str(here))  # there is no SLURM
    made = Synthetic(here / "theirs", "digits", strategies=["normal"], seeds=3)
    mark = here / "mark"
    for seed in (0, 1):
        made.put("normal", seed, -20.0 - seed)
    cell = made.cell("normal", 2)
    code = made.code(cell)
    made.store.begin(cell, "sweep")
    made.store.log(cell.id, 1).write_text("they printed\n")
    launch = Launch("s", "2026", {}, {"device": None, "timeout": None}, {cell.id: key(code, cell.evaluation)})
    launch.arrays = [Array("12", [[cell.id]])]
    launches.write(made.store, launch)
    bomb = pickle.dumps(Bomb(mark))
    places = [f"cells/{cell.id}/{workspace(code)}/{stem}-{hashlib.sha256(bomb).hexdigest()}.pt" for stem in STEMS]
    for place in [*places, "launches/s/0/0.pickle", "studies.journal.snapshot", f"data/{'0' * 64}.npz"]:
        path = made.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bomb)
    np.savez(made.folder / "data" / f"{'1' * 64}.npz", x=np.array([Bomb(mark)], object))
    (made.folder / "studies.journal").touch()
    (here / "victim").mkdir()
    (here / "victim" / "table.md").write_text("mine")
    (made.folder / "report").symlink_to(here / "victim")
    kinds = ("strategies", "datasets", "networks", "energies")
    for folder in (made.folder, *(made.folder / kind for kind in kinds)):
        folder.mkdir(exist_ok=True)
        (folder / "evil.py").write_text(PLUGIN.format(mark=str(mark)))
    evil = str(made.folder / "evil.py")
    source = dict(made.grid.source)
    source |= {"strategy": [*source["strategy"], {"name": evil}, {"name": "stein", "energy": {"kind": evil}}]}
    source |= {"dataset": [*source["dataset"], {"name": evil}], "networks": {"encoder": {"kind": evil}, "latent": 2}}
    (made.folder / "grid.json").write_bytes(sealed(json_bytes(source)))
    return made


STEMS = ("state", "checkpoint")


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "report" not in path.parts)
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", cli.VERBS)
def test_no_verb_executes_what_lies_in_a_store_of_somebody_else(
    theirs: Synthetic, here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    told, needs_trust = VERBS[name]
    tuned = here / "tuned.toml"
    tuned.write_text('title = "t"\n[[dataset]]\nname = "digits"\nvalidation = 300\n[[strategy]]\nname = "stein"\n')
    (here / "file.py").write_text("raise ValueError\n")
    places = {"store": theirs.folder, "file": here / "file.py", "new": here / "new", "tuned": tuned}
    words = [word.format(**places, cell=theirs.cell("normal", 2).id) for word in told]
    monkeypatch.setattr(sys, "argv", ["bench", name, *words])
    verb = cli.bench.get_command(click.Context(cli.bench), name)
    assert verb
    before = content(theirs.folder)
    done = CliRunner().invoke(verb, words)
    assert not (here / "mark").exists(), (here / "mark").read_text()
    assert content(theirs.folder) == before
    assert [path.read_text() for path in (here / "victim").iterdir()] == ["mine"]
    if needs_trust:
        assert isinstance(done.exception, UserError)
        assert "made by somebody else, elsewhere or by an earlier bench; " in str(done.exception)
        assert str(done.exception).endswith("add --trust")
    elif name != "import":
        assert done.exit_code in (0, 1), done.output
        assert done.exception is None or isinstance(done.exception, SystemExit)


def test_every_verb_has_been_thought_of() -> None:
    assert {*VERBS} == {*cli.VERBS}
    context = click.Context(cli.bench)
    storeless = [name for name in cli.VERBS if not any("--store" in param.opts for param in _params(context, name))]
    assert storeless == [*STORELESS]
    trusting = [name for name in cli.VERBS if any("--trust" in param.opts for param in _params(context, name))]
    assert {name for name, (_, trust) in VERBS.items() if trust} <= {*trusting}


def _params(context: click.Context, name: str) -> list[click.Parameter]:
    verb = cli.bench.get_command(context, name)
    assert verb
    return verb.params
