"""A run store goes to a colleague as one file, and what comes in is what was written, or nothing at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import bench
from bench import places
from bench.files import json_bytes, sha256
from bench.protocol import UserError
from bench.report import Records, report
from bench.sweep import archive, states
from bench.sweep.record import Record
from bench.sweep.seal import sealed, unsealed
from bench.sweep.store import Store

if TYPE_CHECKING:
    Change = Callable[[dict[str, bytes]], object]


def refused(match: str, path: str = "forged.zip") -> None:
    with pytest.raises(UserError, match=match) as error:
        bench.import_store(path, "theirs/mnist")
    assert "\n" not in str(error.value)
    assert not Path("theirs/mnist").exists()
    assert not [*Path().rglob("*.part")]
    assert not Path("escaped").exists()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def write(path: Path, content: dict[str, bytes], listed: bool = True) -> None:
    """Write an archive, whose manifest lists what is in it."""
    manifest = unsealed(content.pop(archive.MANIFEST))
    manifest.pop("sha256", None)
    if listed:
        manifest["files"] = {name: sha256(own) for name, own in content.items()}
    with zipfile.ZipFile(path, "w") as file:
        for name, own in {**content, archive.MANIFEST: sealed(json_bytes(manifest))}.items():
            file.writestr(name, own)


def test_a_store_comes_in_as_it_went_out_but_for_what_goes_on_or_is_private(mine: Path) -> None:
    out = bench.export_store(mine, "mnist.zip")
    assert (out.place, out.grid, out.records, out.notes) == (Path("mnist.zip").absolute(), "mnist", 3, ())
    back = bench.import_store("mnist.zip")
    assert (back.place, back.grid, back.records) == (Path("runs/mnist").absolute(), "mnist", 3)
    left = {"log-2.txt", "attempt-1.json", "request.json", "state.pt", "model.pt"}
    kept = {n: own for n, own in files(mine).items() if Path(n).name not in left and not n.startswith("data/")}
    assert files(back.place) == kept
    assert {Path(name).name.partition("-")[0] for name in kept} == {
        *("record", "arrays", "curves", "log", "grid.json", "extended.json")
    }


def _trained(store: Path, content: bytes = b"tensors") -> Path:
    """Put a model beside the first record of a store; return where it lies."""
    path = next(store.glob("cells/*/record-*.json"))
    record = Record.read(path.read_bytes(), path.parent.name)
    record = record.model_copy(update={"digests": record.digests | {"state": sha256(content)}})
    path.write_bytes(record.json_bytes())
    place = states.place(record)
    assert place
    (store / "cells" / place).parent.mkdir(exist_ok=True)
    (store / "cells" / place).write_bytes(content)
    return store / "cells" / place


def test_trained_models_go_along_where_they_are_asked_for(mine: Path) -> None:
    model = _trained(mine)
    bench.export_store(mine, "without.zip")
    bench.export_store(mine, "with.zip", models=True)
    more = members(Path("with.zip")).keys() - members(Path("without.zip")).keys()
    assert more == {str(model.relative_to(mine))}
    there = bench.import_store("with.zip").place / model.relative_to(mine)
    assert there.read_bytes() == b"tensors"


def test_a_damaged_model_stays_and_is_said(mine: Path) -> None:
    model = _trained(mine)
    model.write_bytes(b"other")
    assert bench.export_store(mine, "a.zip", models=True).notes == (f"left out: {model}: it is cut short or altered",)
    model.unlink()
    (note,) = bench.export_store(mine, "b.zip", models=True).notes
    assert note.startswith(f"left out: {model}, which cannot be read: ")


@pytest.mark.parametrize("forged", ["content", "workspace", "cell"])
def test_a_model_that_no_record_was_scored_from_is_refused(mine: Path, forged: str) -> None:
    name = str(_trained(mine).relative_to(mine))
    bench.export_store(mine, "mnist.zip", models=True)
    content = members(Path("mnist.zip"))
    own = content.pop(name)
    cells, cell, workspace, file = name.split("/")
    other = {
        "content": (name, b"other"),
        "workspace": (f"{cells}/{cell}/00000000-00000000/{file}", own),
        "cell": (f"{cells}/0{cell[1:]}1/{workspace}/{file}", own),
    }
    write(Path("forged.zip"), content | dict([other[forged]]))
    refused(r"forged\.zip is damaged or forged: .*: no record was scored from it$")


@pytest.mark.parametrize(("kind", "reason"), [("folder", "Is a directory"), ("pipe", "it is not a file"), ("link", "")])
def test_a_log_that_is_no_file_is_left_out_and_said(mine: Path, kind: str, reason: str) -> None:
    (log,) = (log for log in mine.glob("cells/*/log-1.txt"))
    log.unlink()
    secret = mine.parent / "secret.txt"
    secret.write_text("a secret")
    if kind == "folder":
        log.mkdir()
    elif kind == "pipe":
        os.mkfifo(log)
    else:
        log.symlink_to(secret)
    copied = archive.pack(Store(mine), mine.parent / "mnist.zip")
    assert copied.records == 3
    (note,) = copied.notes
    assert note.startswith(f"left out: {log}, which cannot be read: {reason}")
    assert b"a secret" not in b"".join(zipfile.ZipFile(copied.place).read(name) for name in names(copied.place))


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as file:
        return file.namelist()


def test_its_report_is_the_same_with_logs_of_failures(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.report.figures.write", lambda *_: ([], []))
    bench.export_store(mine, "mnist.zip")
    bench.import_store("mnist.zip", "theirs")
    for store in (mine, Path("theirs")):
        report(Records("mnist", [store]), Path(store.name), view=bench.report.View(html=True))
    ours, theirs = ({**files(Path(name))} for name in ("mnist", "theirs"))
    same = [name for name in ours if name.endswith((".csv", ".tex", ".parquet"))]
    assert len(same) == 5
    assert [ours[name] for name in same] == [theirs[name] for name in same]
    assert b"this is log-1.txt" in theirs["index.html"]


def test_the_same_store_gives_the_same_bytes(mine: Path) -> None:
    bench.export_store(mine, "a.zip")
    shutil.copytree(mine, "elsewhere/mnist")
    for path in Path("elsewhere").rglob("*"):
        os.utime(path, (1e9, 1e9))
    bench.export_store("elsewhere/mnist", "b.zip")
    assert Path("a.zip").read_bytes() == Path("b.zip").read_bytes()


def test_what_comes_in_is_a_strangers_even_in_the_place_of_a_store_of_ones_own(mine: Path) -> None:
    bench.export_store(mine, "mnist.zip")
    Path("runs/mnist").mkdir(parents=True)
    places.remember("store", Path("runs/mnist"))
    shutil.rmtree("runs/mnist")
    store = Store(bench.import_store("mnist.zip").place)  # a new folder may have the number of one that is gone
    assert store.foreign
    places.remember("store", store.folder)
    assert not store.foreign
    bench.export_store(store.folder, "again.zip")
    shutil.rmtree(store.folder)
    assert Store(bench.import_store("again.zip").place).foreign, "what marks a store as one's own is not given away"


def test_nothing_that_is_there_is_overwritten(mine: Path) -> None:
    bench.export_store(mine, "mnist.zip")
    before, content = files(mine), Path("mnist.zip").read_bytes()
    with pytest.raises(UserError, match=r"mnist\.zip exists already and is not overwritten; give another file$"):
        bench.export_store(mine, "mnist.zip")
    Path("link").symlink_to("nowhere")
    Path("file").write_text("mine")
    for target in (mine, "link", "file"):
        with pytest.raises(UserError, match=r"^there is something at .* already and is not overwritten; give another"):
            bench.import_store("mnist.zip", target)
    assert (files(mine), Path("mnist.zip").read_bytes()) == (before, content)
    assert not [*Path().rglob("*.part")]


def test_what_is_damaged_in_a_store_is_left_out_and_said(mine: Path) -> None:
    arrays = min(mine.glob("cells/*/arrays-*"))
    arrays.write_bytes(b"PK half")
    failed = next(path for path in mine.glob("cells/*/record-*.json") if b"crashed" in path.read_bytes())
    failed.write_bytes(failed.read_bytes()[:-9])
    (mine / "grid.json").write_bytes(b"{")
    out = bench.export_store(mine, "mnist.zip")
    assert out.records == 2
    assert [note.partition(":")[0] for note in out.notes] == ["left out"] * 3
    assert bench.import_store("mnist.zip").records == 2


# ---------------------------------------------------------------- the command line


def bench_(*arguments: str) -> Iterator[str | int]:
    environment = {**os.environ, "PYTHONPATH": str(Path(bench.__file__).parents[1])}
    command = [sys.executable, "-m", "bench", *arguments]
    done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    yield from (done.returncode, done.stdout, done.stderr)


def test_the_verbs_say_what_came_of_it_and_what_to_do_next(mine: Path) -> None:
    code, out, _ = bench_("export", "my mnist.zip", "--store", str(mine))
    assert (code, str(out)[:18]) == (0, "3 records of mnist")
    code, out, _ = bench_("import", "my mnist.zip")
    assert (code, out) == (
        0,
        f"3 records of mnist in {Path('runs/mnist').absolute()}; to see them: bench report --grid mnist\n",
    )
    code, out, error = bench_("import", "my mnist.zip")
    assert (code, out, str(error).count("\n")) == (2, "", 1)
    code, _, error = bench_("run", "--grid", "mnist", "--strategy", "normal", "--seeds", "3")
    assert code == 2
    assert "was made by somebody else, elsewhere" in str(error)
