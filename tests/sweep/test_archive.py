"""A run store goes to a colleague as one file, and what comes in is what was written, or nothing at all."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
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
from tests.report.conftest import Synthetic

if TYPE_CHECKING:
    Change = Callable[[dict[str, bytes]], object]

POINT = {"epoch": 1, "step": 1, "metric": "bound", "value": 3.0}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run store with records, curves, arrays, a failed cell with its log, and what is not to be given away."""
    mine = Synthetic(tmp_path_factory.mktemp("mine") / "runs" / "mnist")
    mine.put("normal", 0, 95.0, curves=[POINT])
    mine.put("normal", 1, 97.0, spread=2.0, curves=[POINT])
    failed = mine.put("vampprior[components=16]", 0, status="crashed", reason="signal 9")
    for name in ("log-1.txt", "log-2.txt", "attempt-1.json", "request.json", "state.pt", "workspace/model.pt"):
        (failed.parent / name).parent.mkdir(exist_ok=True)
        (failed.parent / name).write_text(f"this is {name}")
    mine.store.extend((2, 3))
    mine.store.keep(b"somebody's images")
    (mine.folder / "launches").mkdir()
    return mine.folder


@pytest.fixture
def mine(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_STORE", raising=False)
    shutil.copytree(original, tmp_path / "mine" / "mnist")
    return tmp_path / "mine" / "mnist"


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


# ---------------------------------------------------------------- what is no export of a store


def refused(match: str, path: str = "forged.zip") -> None:
    with pytest.raises(UserError, match=match) as error:
        bench.import_store(path, "theirs/mnist")
    assert "\n" not in str(error.value)
    assert not Path("theirs/mnist").exists()
    assert not [*Path().rglob("*.part")]
    assert not Path("escaped").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("../escaped", "cells/../../escaped", "/tmp/escaped", "cells/a/../../../escaped", "cells/../log-1.txt"),
        *("cells\\a\\escaped", "C:/escaped", "cells/.hidden/record-0123456789abcdef.json", "cells/a/state.pt"),
        *("launches/a/job.sh", "data/a.npz", "cells/a\x1b[2J/log-1.txt", "cells/a/attempt-1.json", "cells/a/"),
        *("cells/a/log-01.txt", f"cells/a/log-{10**20}.txt", "cells/a/record-0123456789ABCDEF.json", "Grid.json"),
    ],
)
def test_a_name_that_is_none_of_a_stores_is_refused(mine: Path, name: str) -> None:
    bench.export_store(mine, "mnist.zip")
    write(Path("forged.zip"), {**members(Path("mnist.zip")), name: b"escaped"})
    refused(r"^\S+forged.zip is no export of a run store: .* (is none of the files of a run store|not a plain file)$")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFDIR, stat.S_IFSOCK])
def test_links_and_devices_are_refused(mine: Path, kind: int) -> None:
    bench.export_store(mine, "mnist.zip")
    with zipfile.ZipFile("mnist.zip", "a") as file:
        info = zipfile.ZipInfo("cells/a/log-1.txt")
        info.create_system, info.external_attr = 3, (kind | 0o777) << 16
        file.writestr(info, "/etc/passwd")
    refused("log-1.txt is not a plain file$", "mnist.zip")


@pytest.mark.parametrize("limit", ["MOST_FILES", "MOST_BYTES", "MOST"])
def test_an_archive_beyond_the_limits_is_refused_before_it_is_unpacked(
    mine: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.export_store(mine, "mnist.zip")
    monkeypatch.setattr(archive, limit, 5)
    monkeypatch.setattr(archive, "_content", None)
    refused(
        r"is no export of a run store: it holds more than [\d,]+ files, \d+ GiB, or \d+ GiB a file, unpacked$",
        "mnist.zip",
    )
    if limit != "MOST":
        with pytest.raises(UserError, match=r"cannot be exported: it holds more than "):
            bench.export_store(mine, "more.zip")
        assert not Path("more.zip").exists()


def test_a_bomb_unpacks_no_more_than_its_header_says(mine: Path) -> None:
    bench.export_store(mine, "mnist.zip")
    content = members(Path("mnist.zip"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, own in content.items():
            file.writestr(name, own)
        file.writestr("cells/a/log-1.txt", bytes(10_000_000))
    forged = buffer.getvalue().replace((10_000_000).to_bytes(4, "little"), (9).to_bytes(4, "little"))
    Path("forged.zip").write_bytes(forged)
    refused("is no export of a run store: |is damaged or forged: ")


def record_of(content: dict[str, bytes]) -> str:
    return next(name for name in content if "/record-" in name and b'"ok"' in content[name])


def _changed(content: dict[str, bytes]) -> None:
    name = record_of(content)
    content[name] = content[name].replace(b"95.0", b"15.0").replace(b"97.0", b"17.0")


def _resealed(content: dict[str, bytes]) -> None:
    """Say another digest of the arrays, in a record with a seal of its own."""
    name = record_of(content)
    record = json.loads(content[name]) | {"digests": {"arrays": "0" * 64}}
    record.pop("sha256")
    content[name] = sealed(json_bytes(record))


def _moved(content: dict[str, bytes]) -> None:
    content["cells/other/record-0123456789abcdef.json"] = content.pop(record_of(content))


def _foreign_log(content: dict[str, bytes]) -> None:
    content[f"{record_of(content).rpartition('/')[0]}/log-77.txt"] = b"text"


def _arrays(content: dict[str, bytes]) -> None:
    name = next(name for name in content if "/arrays-" in name)
    content[name] = b"PK other arrays"


def _lone(content: dict[str, bytes]) -> None:
    del content[record_of(content)]


def _plan(content: dict[str, bytes]) -> None:
    content["grid.json"] = b"[" * 100_000


def _named_record(content: dict[str, bytes]) -> None:
    name = record_of(content)
    content[name.replace(".json", f"-{'0' * 64}.npz")] = content.pop(name)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_changed, r"record-\w+.json: it is cut short or altered: its SHA-256 is not the one in its first line$"),
        (_resealed, r"arrays-.*: no record says that it lies beside it$"),
        (_moved, r"its `cell` is wrong: it is that of another folder$"),
        (_foreign_log, r"log-77.txt: it belongs to no record of a failed cell$"),
        (_arrays, r"no record says that it lies beside it$"),
        (_lone, r"no record says that it lies beside it$"),
        (_plan, r"grid.json: it is nested too deeply$"),
        (_named_record, r"it has no name of a record$"),
    ],
)
def test_a_forged_archive_whose_manifest_agrees_is_refused(mine: Path, change: Change, why: str) -> None:
    bench.export_store(mine, "mnist.zip")
    content = members(Path("mnist.zip"))
    change(content)
    write(Path("forged.zip"), content)
    refused(rf"^\S+forged\.zip is damaged or forged: .*{why}")


@pytest.mark.parametrize("change", [_changed, _arrays, _plan])
def test_what_is_not_as_the_manifest_says_is_refused(mine: Path, change: Change) -> None:
    bench.export_store(mine, "mnist.zip")
    content = members(Path("mnist.zip"))
    change(content)
    write(Path("forged.zip"), content, listed=False)
    refused(r"is damaged or forged: .*: its SHA-256 is not the one in manifest\.json$")


def test_what_the_manifest_lacks_or_names_in_vain_is_refused(mine: Path) -> None:
    bench.export_store(mine, "mnist.zip")
    content = members(Path("mnist.zip"))
    write(Path("forged.zip"), {name: own for name, own in content.items() if name != "grid.json"}, listed=False)
    refused(r"grid\.json is in it or in its manifest\.json alone$")


def _of_schema(number: int) -> bytes:
    return sealed(json_bytes({"archive": number, "grid": "mnist", "files": {}}))


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        (_of_schema(2), "its schema is 2; 1 is what this version reads"),
        (sealed(json_bytes({"grid": "mnist", "files": {}})), "its schema is None; 1 is what this version reads"),
        (sealed(json_bytes({"archive": 1, "grid": "../up", "files": {}})), r"manifest\.json: `grid`: a name has"),
        (_of_schema(1)[:-5], r"manifest\.json: it is cut short or altered"),
        (b"", r"manifest\.json: "),
        (None, r"it has no manifest\.json"),
    ],
)
def test_an_archive_of_another_version_or_without_manifest_is_refused(
    mine: Path, manifest: bytes | None, why: str
) -> None:
    with zipfile.ZipFile("forged.zip", "w") as file:
        if manifest is not None:
            file.writestr(archive.MANIFEST, manifest)
    refused(rf"^\S+forged\.zip is no export of a run store: {why}")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_an_archive_that_is_cut_short_is_refused(mine: Path, share: float) -> None:
    bench.export_store(mine, "mnist.zip")
    content = Path("mnist.zip").read_bytes()
    Path("forged.zip").write_bytes(content[: int(share * len(content))])
    refused(r"^\S+forged\.zip is no export of a run store: ")


def test_one_that_is_cut_short_after_a_zip_within_it_is_said_to_be(mine: Path) -> None:
    bench.export_store(mine, "mnist.zip")
    content = Path("mnist.zip").read_bytes()
    end = content.find(b"PK\x05\x06")  # of the arrays of the first cell, which are a zip of their own
    assert end < content.rfind(b"PK\x05\x06")
    Path("forged.zip").write_bytes(content[: end + 22])
    refused(r"^\S+forged\.zip is no export of a run store: it is cut short$")


def test_no_byte_of_an_archive_can_be_changed_unseen(mine: Path) -> None:
    bench.export_store(mine, "mnist.zip")
    content, whole = Path("mnist.zip").read_bytes(), files(bench.import_store("mnist.zip").place)
    noise = np.random.default_rng(0)
    for number, place in enumerate(noise.integers(0, len(content), 60)):
        altered = bytearray(content)
        altered[place] ^= 1 << int(noise.integers(8))
        Path("altered.zip").write_bytes(altered)
        try:
            there = bench.import_store("altered.zip", f"theirs-{number}").place
        except UserError:
            continue
        assert files(there) == whole, "such as a date that nobody reads"


def test_what_is_no_file_is_one_sentence(mine: Path) -> None:
    os.mkfifo("pipe")
    for path, why in (("none.zip", "there is no file"), ("pipe", "is not a file"), (".", "cannot be read")):
        refused(why, path)
    with pytest.raises(UserError, match=r"^there is no run store "):
        bench.export_store("none", "a.zip")
    Path("empty").mkdir()
    with pytest.raises(UserError, match=r"empty is no run store with records$"):
        bench.export_store("empty", "a.zip")
    with pytest.raises(UserError, match=r"a\.zip cannot be written \("):
        bench.export_store(mine, "pipe/a.zip")
    assert not Path("a.zip").exists()


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
