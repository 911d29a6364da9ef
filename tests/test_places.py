"""One place says what a path stands for."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from bench import places
from bench.places import absolute, user_folder
from bench.protocol import UserError
from bench.sweep.requests import Request


def test_paths_are_absolute_and_tildes_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert absolute("runs", "--store") == tmp_path / "runs"
    assert absolute("~/x", "--store") == Path("/home/me/x")
    assert absolute("x.py", "the file", Path("/grids")) == Path("/grids/x.py")
    assert absolute(os.fsdecode(b"caf\xe9"), "--store").parent == tmp_path


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("", "--store is empty"),
        ("a\0b", "--store is a?b, which is no path"),
        ("~nosuchuser/x", "--store is ~nosuchuser/x, and the home folder of ~nosuchuser is not known"),
        ("x" * 300, "which is too long for a path"),
        ("x/" * 3000, "which is too long for a path"),
    ],
)
def test_what_is_no_path_is_one_sentence(path: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        absolute(path, "--store")
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_user_without_a_home_has_folders_among_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for variable in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where there is no entry in passwd
    assert user_folder("cache") == tmp_path / f"priorbench-{os.getuid()}" / "cache"
    assert Request().data.is_relative_to(tmp_path)
    assert not (tmp_path / "~").exists()


def test_a_home_that_cannot_be_written_is_no_hindrance_to_what_needs_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    assert Request().data == tmp_path / "home" / "priorbench" / "data"


def test_a_store_in_the_place_of_ones_own_is_somebody_elses_even_in_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    for store in (mine, theirs):
        store.mkdir()
        (store / "grid.json").write_text("{}")
        assert not places.remembered("store", store)
    places.remember("store", mine)
    places.remember("store", mine)  # again and again
    assert places.remembered("store", mine)
    token = mine / places.TOKEN
    content = token.read_bytes()
    token.unlink()  # a new folder often has the number of one that was removed: so has this one, which is the same
    assert not places.remembered("store", mine)
    token.write_bytes(b"0" * 64)
    assert not places.remembered("store", mine)
    token.unlink()
    token.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_bytes(content)
    assert not places.remembered("store", mine)
    shutil.copytree(mine, tmp_path / "copy", symlinks=True)
    assert not places.remembered("store", tmp_path / "copy")
