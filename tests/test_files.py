"""Files are whole or not there, and what is not what was written is not read."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import files

WEIGHTS = torch.arange(6.0).reshape(2, 3)
CONTENT = {"step": 3, "weights": {"w": WEIGHTS}, "curve": [{"epoch": 0, "value": 0.5}]}


def same(loaded: dict[str, Any]) -> bool:
    rest = {name: part for name, part in loaded.items() if name != "weights"}
    return rest == {"step": 3, "curve": [{"epoch": 0, "value": 0.5}]} and torch.equal(loaded["weights"]["w"], WEIGHTS)


def test_tensors_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = files.save_tensors(tmp_path / "new", "state", CONTENT)
    assert same(files.load_tensors(path))
    assert same(torch.load(path, weights_only=True)), "any program can read it"
    assert [file.name for file in (tmp_path / "new").iterdir()] == [path.name]


def test_a_file_of_tensors_that_is_altered_anywhere_or_cut_short_is_never_read(tmp_path: Path) -> None:
    path = files.save_tensors(tmp_path, "state", CONTENT)
    whole, draw = path.read_bytes(), random.Random(0)
    for place in (0, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(200))):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(files.Damaged, match="is cut short or altered"):
            files.load_tensors(path)
        path.write_bytes(whole[:place])
        with pytest.raises(files.Damaged, match="is cut short or altered"):
            files.load_tensors(path)
    path.write_bytes(whole)
    assert same(files.load_tensors(path))


def test_the_latest_of_several_comes_first_and_other_files_are_not_among_them(tmp_path: Path) -> None:
    early, late = (files.save_tensors(tmp_path, f"checkpoint-{step:09}", CONTENT | {"step": step}) for step in (9, 10))
    state = files.save_tensors(tmp_path, "state", CONTENT)
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    (tmp_path / f"{early.stem}.corrupt").write_bytes(b"")
    assert files.sealed(tmp_path, "checkpoint") == [late, early]
    assert files.sealed(tmp_path, "state") == [state]
    assert files.sealed(tmp_path / "nowhere") == []


def test_what_is_set_aside_replaces_nothing(tmp_path: Path) -> None:
    for text in ("a", "b", "c"):
        (tmp_path / "record.json").write_text(text)
        files.set_aside(tmp_path / "record.json", "corrupt")
    contents = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert contents == {"record.corrupt": "a", "record.2.corrupt": "b", "record.3.corrupt": "c"}
