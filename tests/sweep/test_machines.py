"""Records on machines and file systems that are not like ours."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import files, places
from bench.protocol import Metric, Score
from bench.sweep import attempts, circumstances
from bench.sweep.attempts import LEASE
from bench.sweep.circumstances import provenance
from bench.sweep.record import Score as ScoreRow
from bench.sweep.status import Survey
from bench.sweep.store import Store

Look = Callable[..., Survey]


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_where_there_are_no_hard_links_a_file_is_made_exclusively_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    with files.creating(tmp_path / "record.json") as file:
        file.write(b"first")
    with pytest.raises(FileExistsError), files.creating(tmp_path / "record.json") as file:
        file.write(b"second")
    assert (tmp_path / "record.json").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["record.json"]


@pytest.mark.parametrize("text", ["bad \udcff", "\x1b[31mred", "a\nb\u2028c"])
def test_whatever_an_error_says_its_record_can_be_read(look: Look, store: Store, text: str) -> None:
    job = look("ok").jobs()[0]
    odd = ScoreRow.of(Score(Metric(text, text), 1.0, 5, text, 0.1, 0.1, 1.0, 1.0, text))
    fields: dict[str, Any] = {"label": f"x{text}", "scores": [odd], "stability": {text: 1.0}}
    assert store.finish(job, job.record("fakes", provenance("cpu"), "error", text, **fields))
    (kept,) = store.records()
    assert kept.status == "error"
    assert (kept.reason + kept.label + kept.scores[0].unit).isprintable()


def test_a_record_that_cannot_be_read_back_is_an_error_in_words(look: Look, store: Store) -> None:
    job = look("ok").jobs()[0]
    for fields in ({"normalised": {"words": "bad \udcff"}}, {"normalised": {"number": object()}}):
        for path in store.cell(job.cell.id).glob("record-*"):
            path.unlink()
        assert store.finish(job, job.record("fakes", provenance("cpu"), "ok", **fields))
        (kept,) = store.records()
        assert kept.status == "error"
        assert kept.reason.startswith("its record could not be read back: ")


def test_a_heartbeat_in_the_future_blocks_no_cell(look: Look, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = look("ok").jobs()[0].cell
    assert store.begin(cell, "sweep")
    future = time.time() + 100 * LEASE
    os.utime(attempts.path(store.cell(cell.id), 1), (future, future))
    assert store.alive(cell.id, 1), "its process is there, and beats again soon"
    monkeypatch.setattr(attempts, "host", lambda: "another machine")
    assert not store.alive(cell.id, 1)
    assert store.begin(cell, "sweep")


def test_a_store_of_somebody_else_is_foreign_until_it_is_trusted(
    look: Look, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert not store.foreign, "there is nothing in it"
    store.write_grid(look("ok").grid.source)
    assert store.foreign
    places.remember("store", store.folder)
    assert not store.foreign
    store.folder.rename(tmp_path / "before")
    store.write_grid(look("ok").grid.source)
    assert Store(tmp_path / "before").foreign, "it lies elsewhere now"


def test_a_checkout_of_another_owner_is_recorded_and_without_git_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if circumstances._git.__wrapped__() is None:
        pytest.skip("bench does not run from a checkout here")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # as git's own tests do
    assert circumstances._git.__wrapped__() is not None
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(circumstances, "_git", lambda: None)
    assert circumstances.unversioned().endswith("made them: there is no git")
