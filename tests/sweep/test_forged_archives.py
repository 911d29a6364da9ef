"""What is no export of a run store is refused whole, in one sentence."""

from __future__ import annotations

import io
import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import bench
from bench.files import json_bytes
from bench.protocol import UserError
from bench.sweep import archive
from bench.sweep.seal import sealed

if TYPE_CHECKING:
    Change = Callable[[dict[str, bytes]], object]
from tests.sweep.test_archive import files, members, refused, write


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
