"""A journal that is damaged, forged or no file: one sentence that says what to do, and nothing is trained or lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from optuna.trial import TrialState

import bench.grid as grids
from bench.places import remember
from bench.plugins import Registry
from bench.protocol import UserError
from bench.sweep.screen import Screen
from bench.tuning import rows, show
from bench.tuning.journal import JOURNAL, place_of, storage_of
from bench.tuning.ledgers import refuse_others
from bench.tuning.study import Study
from bench.verbs.tuning import tune as verb
from tests.tuning.conftest import FAKES, Tune, tables
from tests.tuning.test_verb import GRID

Shell = Callable[..., Result]
SHOW, GO_ON, MORE = ("--show",), ("--trials", "2", "--trust"), ("--trials", "3", "--trust")


def shell_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Return what runs `bench tune` in a folder."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BENCH_PLUGINS", str(FAKES))
    monkeypatch.setenv("BENCH_STORE", str(folder / "runs"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr(sys, "argv", ["bench", "tune", "--grid", "fakes.toml"])

    def shell(*options: str) -> Result:
        told = ["--grid", "fakes.toml", "--data-dir", str(folder), *options]
        return CliRunner().invoke(verb, told if "--show" in told else [*told, "--jobs", "1"], catch_exceptions=False)

    return shell


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a study of two trials, a grid and a tuned grid."""
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "fakes.toml").write_text(GRID)
    with pytest.MonkeyPatch.context() as monkeypatch:
        shell_in(folder, monkeypatch)("--trials", "2", "--pruner", "none")
    shutil.rmtree(folder / "cache")
    return folder


@pytest.fixture
def shell(tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Run `bench tune` in a copy of that folder, whose store is a stranger's."""
    shutil.copytree(tuned, tmp_path, dirs_exist_ok=True)
    return shell_in(tmp_path, monkeypatch)


@pytest.fixture
def journal(shell: Shell, tmp_path: Path) -> Path:
    return tmp_path / "runs" / "fakes-trials" / JOURNAL


def refused(shell: Shell, folder: Path, *options: str) -> str:
    """Return the sentence by which `bench tune` refuses, having changed nothing."""

    def content() -> dict[Path, bytes]:
        store, grid = folder / "runs" / "fakes-trials", folder / "fakes-tuned.toml"
        files = [grid, *store.glob("cells/*/*"), *store.glob("studies*")]
        return {path: path.read_bytes() for path in files if path.is_file()}

    before = content()
    with pytest.raises(UserError) as error:
        shell(*options)
    assert content() == before
    assert "\n" not in str(error.value)
    return str(error.value)


def noted(key: str, value: Any) -> Callable[[str], str]:
    """Forge what is noted of the study."""
    line = json.dumps({"op_code": 2, "worker_id": "w", "study_id": 0, "user_attr": {key: value}})
    return lambda text: f"{text}{line}\n"


def context(**parts: Any) -> Callable[[str], str]:
    """Forge a part of the study's context."""

    def forge(text: str) -> str:
        lines = (json.loads(line) for line in text.splitlines())
        (before,) = (line["user_attr"]["context"] for line in lines if "context" in line.get("user_attr", {}))
        return noted("context", before | parts)(text)

    return forge


def put(pattern: str, instead: str) -> Callable[[str], str]:
    """Forge the first place of a pattern."""

    def forge(text: str) -> str:
        assert re.search(pattern, text)
        return re.sub(pattern, instead, text, count=1)

    return forge


def line(content: str, where: int) -> Callable[[str], str]:
    """Put a line into the journal; -1 is after its last one."""

    def forge(text: str) -> str:
        lines = text.splitlines()
        lines.insert(where % (len(lines) + 1), content)
        return "\n".join([*lines, ""])

    return forge


CELL = r'"cell":"[0-9a-f]+"'
VALUE = r'"param_value_internal":[0-9.]+'
DAMAGES: dict[str, tuple[Callable[[str], str], str]] = {
    "cut": (lambda text: text[:300], r"its line \d+ is cut short"),
    "cut at its end": (lambda text: text[:-5], r"its line \d+ is cut short"),
    "a first line": (line("garbage", 0), "its line 1 is not what Optuna writes"),
    "a second line": (line("\0\0\0", 1), "its line 2 is not what Optuna writes"),
    "a last line": (line("{}}", -1), r"its line \d+ is not what Optuna writes"),
    "an operation": (line('{"op_code": 99}', 2), "its line 3 is not what Optuna writes"),
    "a list": (line("[1]", 2), "its line 3 is not what Optuna writes"),
    "nested": (line("[" * 100_000, 2), "its line 3 is not what Optuna writes"),
    "context": (noted("context", "x"), "context of the study fakes/drawn/known is not what bench writes"),
    "empty context": (noted("context", {}), "context.search space of the study"),
    "code": (context(code="x"), "context.code of the study"),
    "code as a table": (context(code={"a": 1}), "context.code of the study"),
    "code of other keys": (context(code='{"a":1}'), "context.code.plugin of the study"),
    "settings": (context(settings=5), "context.settings of the study"),
    "settings as a number": (context(settings="5"), "context.settings of the study"),
    "seconds": (noted("seconds", "x"), "seconds of the study"),
    "seconds below 0": (noted("seconds", -1.0), "seconds of the study"),
    "seconds that are none": (noted("seconds", float("nan")), "seconds of the study"),
    "directions": (put(r'"directions":\[1\]', '"directions":[2]'), "the direction of the study"),
    "cell": (put(CELL, '"cell":["x"]'), "cell of trial 0 of the study"),
    "cell as a path": (put(CELL, '"cell":"../../x"'), "cell of trial 0 of the study"),
    "another cell": (put(CELL, '"cell":"abc"'), "trial 0 of the study .* has not the values of its cell abc"),
    "another value": (put(VALUE, '"param_value_internal":1.75'), "trial 0 of the study .* has not the values of"),
    "a value out of bounds": (put(VALUE, '"param_value_internal":1e9'), "variance of trial 0 of .* is none of the"),
    "a value that is none": (put(VALUE, '"param_value_internal":"x"'), "variance of trial 0|its line"),
    "a range": (put(r'\\"high\\": 100.0', r'\\"high\\": 1e9'), "variance of trial 0 of .* is none of the"),
    "a key": (put('"param_name":"variance"', '"param_name":"doubt"'), "doubt of trial 0 of .* is none of the"),
    "a score": (put(r'"values":\[[0-9.]+\]', '"values":["x"]'), "values.0 of trial 0|its line"),
    "two scores": (put(r'"values":\[([0-9.]+)\]', r'"values":[\1,\1]'), "values of trial 0|its line"),
    "no score": (put(r'"values":\[[0-9.]+\]', '"values":null'), "trial 0 of .* is complete and has no value|its line"),
    "a mark": (put('"own": ?true', '"own":5'), "own of trial 0 of the study"),
    "a status": (put('"status":"ok"', '"status":5'), "status of trial 0 of the study"),
}


@pytest.mark.parametrize("options", [SHOW, MORE], ids=["show", "tune"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_forged_journal_is_one_sentence(
    shell: Shell, journal: Path, tmp_path: Path, damage: str, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.tuning.journal.SETTLED", 0.2)
    forge, why = DAMAGES[damage]
    text = journal.read_text()
    assert text != forge(text)
    journal.write_text(forge(text))
    said = refused(shell, tmp_path, *options)
    assert re.fullmatch(
        f"the storage of studies {re.escape(str(journal))} cannot be used: .*({why}).*;"
        " to begin anew, move it away or give another run store",
        said,
    )


def test_the_values_of_a_trial_that_was_trained_with_others_never_come_into_a_tuned_grid(
    shell: Shell, journal: Path, tmp_path: Path
) -> None:
    """Not even where the study is over, and the same command has nothing to train."""
    journal.write_text(put(VALUE, '"param_value_internal":1.75')(journal.read_text()))
    (tmp_path / "fakes-tuned.toml").unlink()
    assert "so that one of both was altered" in refused(shell, tmp_path, *GO_ON)
    assert not (tmp_path / "fakes-tuned.toml").exists()


def test_two_trials_that_changed_places_are_refused(shell: Shell, journal: Path, tmp_path: Path) -> None:
    one, other = re.findall(CELL, journal.read_text())
    text = journal.read_text().replace(one, "\0").replace(other, one).replace("\0", other)
    journal.write_text(text)
    assert "trial 0 of the study fakes/drawn/known has not the values of its cell" in refused(shell, tmp_path, *SHOW)


def test_a_trial_that_goes_on_goes_on_with_the_values_it_began_with(
    shell: Shell, journal: Path, tmp_path: Path
) -> None:
    """Its end is cut off, so that it seems to run, and its values are altered."""
    lines = journal.read_text().splitlines(keepends=True)
    (last,) = [number for number, text in enumerate(lines) if re.search(CELL, text)][1:]
    running = "".join(lines[: last + 1])
    *_, value = re.findall(VALUE, running)
    journal.write_text(running.replace(value, '"param_value_internal":1.75'))
    assert "trial 1 of the study fakes/drawn/known has not the values of its cell" in refused(shell, tmp_path, *MORE)


def test_what_is_chosen_rests_on_records_whatever_ends_the_journal_gives(
    shell: Shell, journal: Path, tmp_path: Path
) -> None:
    """The state of a complete trial is altered to that of a failed one."""
    (path,) = tmp_path.glob("*-tuned.toml")
    (best,) = re.findall(r"best = (\d)", path.read_text())
    text = journal.read_text()
    ends = [match.start() for match in re.finditer(r'"state":1,', text)]
    assert len(ends) == 2
    start = ends[int(best)]
    journal.write_text(text[:start] + text[start:].replace('"state":1,', '"state":3,', 1))
    shell(*GO_ON, "--pruner", "none")
    assert f"best = {best}" in path.read_text()


def test_a_journal_that_is_damaged_meanwhile_is_one_sentence_whatever_is_asked(tmp_path: Path) -> None:
    (row,) = rows.of(grids.load(tables(), Registry([FAKES])), "vlb", Registry([FAKES]))
    storage = storage_of(None, tmp_path)
    assert storage is not None
    study = Study(row, storage)
    assert study.ask(1) is not None
    with (tmp_path / JOURNAL).open("a") as file:
        file.write("garbage\n" * 2)
    asked: list[Callable[[], object]] = [
        lambda: study.trials,
        lambda: study.said,
        lambda: study.ask(1),
        lambda: study.claim(0, "abc"),
        lambda: study.void(0, "gone"),
        lambda: study.tell(0, 1.0, TrialState.COMPLETE, {}),
        lambda: study.allow(5.0),
    ]
    for ask in asked:
        with pytest.raises(
            UserError, match=r"the storage of studies .*studies\.journal cannot be used: its line \d+ is not "
        ):
            ask()


def test_a_journal_moved_away_begins_anew(shell: Shell, journal: Path, tmp_path: Path) -> None:
    before = (tmp_path / "fakes-tuned.toml").read_text()
    journal.write_text("garbage\n")
    refused(shell, tmp_path, *GO_ON)
    journal.rename(tmp_path / "away")
    assert shell(*GO_ON, "--pruner", "none").exit_code == 0
    assert (tmp_path / "fakes-tuned.toml").read_text() == before  # the same trials, whose records are there


@pytest.mark.parametrize("options", [SHOW, MORE], ids=["show", "tune"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_no_journal(
    shell: Shell, journal: Path, tmp_path: Path, make: Callable[[Path], None], options: tuple[str, ...]
) -> None:
    journal.unlink()
    make(journal)
    said = refused(shell, tmp_path, *options)
    assert re.search(
        r"studies.journal cannot be used: (it is not a file|Is a directory); to begin anew, move it ", said
    )


@pytest.mark.parametrize("lines", [0, 1, 2], ids=["no study", "a study", "a study and its first trial"])
def test_showing_a_study_that_never_began_writes_nothing_and_waits_for_nothing(
    shell: Shell, journal: Path, tmp_path: Path, lines: int
) -> None:
    text = "".join(journal.read_text().splitlines(keepends=True)[:lines])
    assert '"context"' not in text
    journal.write_text(text)
    begun = time.monotonic()
    assert refused(shell, tmp_path, *SHOW).startswith("there is no study of fakes in ")
    assert time.monotonic() - begun < 5


def test_an_empty_storage_is_called_by_its_name(shell: Shell, tmp_path: Path) -> None:
    said = refused(shell, tmp_path, *SHOW, "--storage", "")
    assert said == "--storage is empty; give the URL of an Optuna storage, or leave --storage out"


def test_a_forged_database_is_called_by_its_url(tmp_path: Path) -> None:
    (row,) = rows.of(grids.load(tables(), Registry([FAKES])), "vlb", Registry([FAKES]))
    url = f"sqlite:///{tmp_path}/studies.db"
    storage = storage_of(url, tmp_path)
    assert storage is not None
    assert place_of(storage) == url
    Study(row, storage).study.set_user_attr("context", {"code": 1})
    with pytest.raises(UserError) as error:
        Study(row, storage, create=False)
    assert str(error.value).startswith(f"the storage of studies {url} cannot be used: context.")
    assert str(error.value).endswith("to begin anew, give another storage")


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        storage_of("nonsense://me:secret@host/studies", tmp_path)
    assert re.fullmatch(
        r"the storage of studies nonsense://me:\*+@host/studies cannot be reached: .*; give another storage",
        str(error.value),
    )


# ---------------------------------------------------------------- what lies where bench would write


def test_every_study_has_pictures_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "_save", lambda draw, progress, path: None)
    monkeypatch.setattr(show, "importances", lambda progress: {})
    studies: Any = [
        SimpleNamespace(
            study=SimpleNamespace(row=SimpleNamespace(study=name), trials=[SimpleNamespace(state=TrialState.COMPLETE)])
        )
        for name in ("digits/größe", "digits/grüße", "digits/x[a=0.1]", "digits/x[b=0.1]")
    ]
    written = show.pictures(studies, tmp_path)
    assert len(set(written)) == len(written) == 8
    assert all(path.parent == tmp_path for path in written)


def test_the_pictures_of_a_strangers_store_go_nowhere_that_it_says(shell: Shell, tmp_path: Path) -> None:
    elsewhere, place = tmp_path / "elsewhere", tmp_path / "runs" / "fakes-trials" / "pictures"
    elsewhere.mkdir()
    place.symlink_to(elsewhere)
    shell(*SHOW)
    assert not list(elsewhere.iterdir())
    drawn = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert drawn == ["fakes-drawn-known-history.png", "fakes-drawn-known-slice.png"]
    # a link in the place of a picture is replaced, and one of the user's own store is the user's own
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (elsewhere / drawn[0]).symlink_to(mine)
    remember("store", place.parent)
    shell(*SHOW)
    assert sorted(path.name for path in elsewhere.iterdir()) == drawn
    assert mine.read_text() == "mine"
    assert (elsewhere / drawn[0]).read_bytes().startswith(b"\x89PNG")


def test_a_users_own_file_is_not_replaced_and_nothing_is_trained_before_that_is_said(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "fakes-tuned.toml").write_text('title = "mine"\n')
    said = refused(shell, tmp_path, *MORE)
    assert said == (
        f"the tuned grid would replace {tmp_path}/fakes-tuned.toml, which `bench tune` has not written;"
        " move it away, or tune in another folder"
    )


def test_a_file_that_appears_meanwhile_is_not_replaced_either(tune: Tune, tmp_path: Path) -> None:
    path = tmp_path / "grid-tuned.toml"

    class Busy(Screen):
        def note(self, sentence: str) -> None:
            path.write_text("mine")

    with pytest.raises(UserError, match=r"the tuned grid would replace .*/grid-tuned\.toml, which"):
        tune(trials=1, progress=Busy())
    assert path.read_text() == "mine"
    path.unlink()
    again = tune(trials=1)
    assert again.grids == [path]
    assert len(again.trials()) == 1


@pytest.mark.parametrize(
    ("make", "ours"),
    [
        (lambda path: None, True),
        (lambda path: path.write_text("# Written by `bench tune --grid fakes.toml`; ..."), True),
        (lambda path: path.write_text(""), False),
        (lambda path: path.write_text("# Written by me"), False),
        (lambda path: path.write_bytes(b"\xff"), False),
        (lambda path: path.symlink_to("nowhere"), False),
        (os.mkfifo, False),
        (os.mkdir, False),
    ],
    ids=["nothing", "a tuned grid", "an empty file", "a comment", "bytes", "a link", "a pipe", "a folder"],
)
def test_what_bench_tune_may_replace(tmp_path: Path, make: Callable[[Path], Any], ours: bool) -> None:
    path = tmp_path / "grid-tuned.toml"
    make(path)
    if ours:
        refuse_others([path])
    else:
        with pytest.raises(UserError, match="which `bench tune` has not written"):
            refuse_others([path])
