"""`bench tune`: what it says, what it shows, and who imports Optuna."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.protocol import UserError
from bench.verbs.tuning import tune
from tests.tuning.conftest import FAKES

GRID = """title = "fakes"
seeds = 2
[[dataset]]
name = "drawn"
[networks]
latent = 2
[[strategy]]
name = "known"
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_PLUGINS", str(FAKES))
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "runs"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["bench", "tune", "--grid", "fakes.toml"])
    (tmp_path / "fakes.toml").write_text(GRID)
    return CliRunner()


def test_it_tunes_and_shows_what_came_out(shell: CliRunner, tmp_path: Path) -> None:
    told = ["--grid", "fakes.toml", "--data-dir", str(tmp_path)]
    done = shell.invoke(tune, [*told, "--trials", "6", "--jobs", "1"], catch_exceptions=False)
    assert done.exit_code == 0
    assert f"1 row, 6 trials each; store: {tmp_path}/runs/fakes-trials\n" in done.output
    assert "drawn known, trial 0: vlb 2." in done.output, done.output.splitlines()
    assert (
        f"tuned grid: {tmp_path}/fakes-tuned.toml; to compare it with what was: bench run --grid fakes-tuned.toml"
        in (done.output)
    )
    shown = shell.invoke(tune, [*told, "--show"], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "drawn known: 6 of 6 trials ended (" in shown.output
    assert "variance: 100% of the differences" in shown.output
    pictures = sorted(path.name for path in (tmp_path / "runs" / "fakes-trials" / "pictures").glob("*.png"))
    assert pictures == [f"fakes-drawn-known-{what}.png" for what in ("history", "importance", "slice")]


def test_without_a_study_there_is_nothing_to_show(shell: CliRunner, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        shell.invoke(tune, ["--grid", "fakes.toml", "--show"], catch_exceptions=False)
    assert str(error.value) == (
        f"there is no study of fakes in {tmp_path}/runs/fakes-trials;"
        " `bench tune --grid fakes.toml --trials 20` makes it"
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--trials", "3", "--detach"], "--detach is said of SLURM jobs; add --on slurm"),
        (["--trials", "3", "--partition", "gpu"], "--partition is said of SLURM jobs; add --on slurm"),
        ([], "say --trials 20 or --budget 2h, one of them, not neither"),
        (["--trials", "3", "--budget", "1h"], "say --trials 20 or --budget 2h, one of them, not both"),
        (["--budget", "1d"], "--budget 1d is no time; write 2h, 90m, 1h30m or 45s"),
    ],
)
def test_a_wrong_option_is_one_sentence(shell: CliRunner, options: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as error:
        shell.invoke(tune, ["--grid", "fakes.toml", *options], catch_exceptions=False)
    assert str(error.value) == sentence


def test_no_other_verb_imports_optuna(tmp_path: Path) -> None:
    (tmp_path / "fakes.toml").write_text(GRID)
    code = """import sys
sys.argv = ["bench", *sys.argv[1:]]
if sys.argv[1] == "run":  # its workers load no library that these cells do without
    import bench.sweep.processes
    bench.sweep.processes.LIBRARIES = ()
from bench.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
print("optuna" in sys.modules, "sqlalchemy" in sys.modules)"""
    run = ["run", "--grid", "fakes.toml", "--plugins", str(FAKES), "--data-dir", str(tmp_path), "--jobs", "1"]
    for words in (["--help"], ["list"], ["tune", "--help"], run):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=tmp_path, text=True, capture_output=True, check=True
        )
        assert done.stdout.endswith("False False\n"), words


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        ("nope", 'models of digits normal have no score "nope"; they may have vlb, nll,'),
        ("vbl", 'models of digits normal have no score "vbl"; did you mean "vlb"? they may have vlb, nll,'),
        ("kl_data", "models of digits normal have no score kl_data, for no density of digits is known; they may have"),
        ("log_z", "neither a lower nor a higher log_z is better; models of digits normal may have vlb, nll,"),
        ("reconstruction", "neither a lower nor a higher reconstruction is better; models of digits normal may have"),
    ],
)
def test_a_wrong_metric_is_refused_before_the_first_trial(
    shell: CliRunner, tmp_path: Path, metric: str, sentence: str
) -> None:
    told = ["--grid", "digits", "--strategy", "normal", "--set", "dataset.digits.validation=300", "--trials", "2"]
    with pytest.raises(UserError) as error:
        shell.invoke(tune, [*told, "--metric", metric], catch_exceptions=False)
    assert str(error.value).startswith(f"--metric {metric}: {sentence}")
    assert not (tmp_path / "runs" / "digits-trials").exists()


def test_fewer_trials_than_a_row_has_had_are_said_to_add_nothing(shell: CliRunner, tmp_path: Path) -> None:
    told = ["--grid", "fakes.toml", "--data-dir", str(tmp_path), "--jobs", "1"]
    shell.invoke(tune, [*told, "--trials", "3"], catch_exceptions=False)
    fewer = shell.invoke(tune, [*told, "--trials", "2"], catch_exceptions=False)
    assert "3 trials already, more than 2 trials, so that nothing is added: drawn known\n" in fewer.output
    assert "drawn known: 3 of 3 trials ended (" in fewer.output
    same = shell.invoke(tune, [*told, "--trials", "3"], catch_exceptions=False)
    assert "already" not in same.output
