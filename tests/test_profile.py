"""The `[slurm]` settings: the command line's before the grid's before the user's profile."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench.grid as grids
from bench import profile
from bench.plugins import Registry
from bench.protocol import UserError
from bench.sweep.requests import Request


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the profile lies, in an empty folder of settings."""
    monkeypatch.setenv("HOME", str(tmp_path))  # macOS goes by it
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    file = profile.file()
    assert tmp_path in file.parents
    file.parent.mkdir(parents=True)
    return file


def test_without_a_profile_there_are_defaults(written: Path) -> None:
    assert profile.slurm({}, {}) == profile.Slurm()


def test_the_command_line_goes_before_the_grid_and_the_grid_before_the_profile(written: Path) -> None:
    written.write_text('[slurm]\naccount = "physics"\npartition = "cpu"\ntime = 30\nsetup = ["module load one"]\n')
    asked = profile.slurm({"time": 60, "partition": "gpu"}, {"time": 90})
    assert (asked.account, asked.partition, asked.time) == ("physics", "gpu", 90)
    assert asked.setup == ["module load one"]


def test_the_profile_says_where_stores_and_data_lie(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_STORE", raising=False)
    assert Request().runs("mnist").folder == Path("runs/mnist").absolute()
    written.write_text('store = "~/sweeps"\ndata = "/data"\n')
    assert Request().runs("mnist").folder == Path("~/sweeps/mnist").expanduser()
    assert Request().data == Path("/data")
    assert Request(data_dir=Path("/mine")).data == Path("/mine")
    written.write_text('store = "/what/costs/5$"\n')
    assert Request().runs("mnist").folder == Path("/what/costs/5$/mnist")
    monkeypatch.setenv("BENCH_STORE", "/elsewhere")
    assert Request().runs("mnist").folder == Path("/elsewhere/mnist")


MOST = "and at most 1000000000"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[slurm]\ngpu = 1", 'unknown key profile.slurm.gpu; did you mean "gpus"?'),
        (
            '[slurm]\ntime = "1:00"',
            f'profile.slurm.time = "1:00" is not allowed; it must be an integer, at least 1 {MOST}',
        ),
        (
            "[slurm]\nretries = 12345678901",
            f"profile.slurm.retries = 12345678901 is not allowed; it must be an integer, at least 0 {MOST}",
        ),
        (
            "[slurm]\nmemory = 1e300",
            f"profile.slurm.memory = 1e+300 is not allowed; it must be a number, above 0 {MOST}",
        ),
        (
            'store = "$SCRATCH/runs"',
            'profile.store = "$SCRATCH/runs": variables are not expanded here: write the folder out, or set ',
        ),
        ('data = "/scratch/${USER}"', 'profile.data = "/scratch/${USER}": variables are not expanded here: '),
        ('store = ""', "profile.store = "),
        ('[slrm]\npartition = "x"', 'unknown key profile.slrm; did you mean "slurm"?'),
        ("[slurm", "invalid TOML: "),
        (
            '[slurm]\nsetup = ["#SBATCH --qos=long"]',
            "#SBATCH has no effect there; options of sbatch go into slurm.extra",
        ),
        ('[slurm]\nextra = ["--output=x"]', "--output is said by bench itself"),
        ('[slurm]\nextra = ["--parti=x"]', "--parti, short for --partition, is said by bench itself"),
        ('[slurm]\nextra = ["--gpus=2"]', "--gpus is said by bench itself"),
        ('[slurm]\nextra = ["--clusters=x"]', "--clusters sends jobs where nobody asks for them"),
        ('[slurm]\nextra = ["-q long"]', "it must be one long option of sbatch, such as --qos=long"),
    ],
)
def test_a_mistake_in_the_profile_is_one_sentence_with_its_file(written: Path, content: str, sentence: str) -> None:
    written.write_text(content)
    with pytest.raises(UserError) as caught:
        profile.slurm({}, {})
    assert str(caught.value).startswith(f"{written}: ")
    assert sentence in str(caught.value)


def test_no_beginning_of_an_option_that_is_said_by_bench_goes_past_it_and_others_do() -> None:
    options = (*profile.OURS, "clusters")
    for beginning in {option[:end] for option in options for end in range(1, len(option) + 1)}:
        with pytest.raises(UserError, match=rf"--{beginning}(,| is said| sends)"):
            profile.slurm({"extra": [f"--{beginning}=1"]}, {})
    others = ("qos", "nodelist", "exclude", "exclusive", "mail-type", "time-min", "mem-bind", "wait-all-nodes", "gres")
    assert [*profile.slurm({"extra": [f"--{name}" for name in others]}, {}).further] == [*others]


def test_a_profile_that_cannot_be_read_is_one_sentence(written: Path) -> None:
    written.mkdir()
    with pytest.raises(UserError, match=r"^the profile .*profile\.toml cannot be read: "):
        profile.slurm({}, {})


def test_a_grid_asks_for_what_its_jobs_need_and_its_cells_stay_the_same() -> None:
    plain = grids.load("digits", Registry(), seeds=1)
    asking = grids.load("digits", Registry(), seeds=1, settings=["slurm.memory=4.0", "slurm.gpus=1"])
    assert asking.source["slurm"] == {"memory": 4.0, "gpus": 1}
    assert [cell.id for cell in asking.cells] == [cell.id for cell in plain.cells]
    with pytest.raises(UserError, match=r'^--set slurm.gpu=1: unknown key slurm.gpu; did you mean "gpus"\?'):
        grids.load("digits", Registry(), settings=["slurm.gpu=1"])
