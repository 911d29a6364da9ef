"""Data, networks, budget and scoring that do not go together are refused in words before anything is trained."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench
from bench import demands
from bench.grid import load
from bench.networks.mlp import Mlp
from bench.plugins import Registry
from bench.protocol import Budget, DataError, Dataset, Evaluation, Items, Networks, Run, Task, UserError
from bench.sweep.circumstances import provenance
from bench.sweep.requests import Plan, Request
from bench.sweep.status import verified
from bench.sweep.store import Store
from bench.sweep.worker import Setup, Worker

SMALL = Mlp(hidden=[4])
NETWORKS = Networks(encoder=SMALL, decoder=SMALL, latent=2)
IMAGES = np.random.default_rng(0).integers(256, size=(40, 4, 4), dtype=np.uint8)

MINE = """
from __future__ import annotations
from typing import ClassVar
import numpy as np
from bench.data import Binarised, split
from bench.protocol import Items
IMAGES = np.random.default_rng(0).integers(256, size=(60, 4, 4)).astype(np.uint8)

class Mine(Binarised):
    version: ClassVar[str] = "1"

    def load(self, folder):
        return split(IMAGES[:40], IMAGES[40:])
"""
GRID = """
title = "Mine"
seeds = 1
[[dataset]]
name = "mine.py"
[networks]
encoder = { hidden = [4] }
decoder = { hidden = [4] }
latent = 2
[train]
epochs = 1
batch_size = 41
[evaluate]
importance_samples = 2
ais_nll = { images = 0, simulated = 0 }
[[strategy]]
name = "normal"
"""
VERSION = '    version: ClassVar[str] = "1"\n'
TOO_MANY = "train.batch_size = 41 is more than the 40 items to train on, so that no step would be made; at most 40 is "
SILENT = (
    "not checked: whether networks, budget and scoring suit data set 'mine', which does not say what it holds; the "
)
BRIGHTNESS = "the pixels of train are 0 .. 1, and white = 255, by which they are divided; scale them to 0 .. 255"


def refused(name: str, *settings: str) -> str:
    with pytest.raises(UserError) as raised:
        load(name, Registry(), settings=settings, strategies=["normal"], seeds=1)
    return str(raised.value)


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        (
            "digits",
            ["train.batch_size=1501"],
            "--set train.batch_size=1501: data set digits: train.batch_size = 1501 is more than the 1,500 items to "
            "train on, so that no step would be made; at most 1500 is allowed",
        ),
        (
            "digits",
            ["dataset.digits.validation=1000", "train.batch_size=[64, 501]"],
            "--set train.batch_size=[64, 501]: data set digits: train.batch_size = 501 is more than the 500 items to "
            "train on (validation keeps 1,000), so that no step would be made; at most 500 is allowed",
        ),
        (
            "digits",
            ['networks.encoder={kind = "conv", hidden = [8, 8, 8, 8]}'],
            '--set networks.encoder={kind = "conv", hidden = [8, 8, 8, 8]}: data set digits: networks.encoder.kind = '
            "'conv' with 4 layers needs images whose sides are multiples of 16, and an item here is 8x8; 'mlp' takes "
            "any",
        ),
        (
            "toy",
            ["evaluate.images=9"],
            "--set evaluate.images=9: data set 8-gaussians: 9 test items (evaluate.images) and 40,000 training items "
            "are too few for the distance to a known density; 10 or more will do",
        ),
    ],
)
def test_a_grid_is_refused_by_what_its_data_sets_hold(name: str, settings: list[str], sentence: str) -> None:
    assert refused(name, *settings) == sentence


def test_as_many_items_as_a_batch_make_a_step() -> None:
    for settings in (["train.batch_size=1500"], ["dataset.digits.validation=1000", "train.batch_size=500"]):
        assert load("digits", Registry(), settings=settings, strategies=["normal"]).cells
    assert load("toy", Registry(), settings=["evaluate.images=10"], strategies=["normal"]).cells
    assert load("digits", Registry(), settings=["evaluate.images=5"], strategies=["normal"]).cells


@pytest.mark.parametrize("items", [Items((4, 4), 1, 5), Items((4, 4), 5, 1), Items((4, 4), 5, 0), Items((4, 4), -3, 5)])
def test_two_items_are_needed_to_train_on_and_two_to_score(items: Items) -> None:
    dataset: Any = Registry().find("dataset", "digits").load()()
    found = demands.refusal(dataset, items, NETWORKS, Budget(batch_size=1), Evaluation())
    assert found is not None
    assert found.reason == f"it has {items}; 2 or more to train on and 2 or more to score are needed"


def test_more_images_than_there_are_means_all_of_them() -> None:
    dataset: Any = Registry().find("dataset", "digits").load()()
    assert demands.refusal(dataset, dataset.holds(), NETWORKS, Budget(), Evaluation(images=100_000)) is None


@pytest.mark.parametrize("name", ["digits", "8-gaussians", "mnist", "cifar10", "cifar10-subset"])
def test_validation_is_taken_from_what_is_trained_on(name: str) -> None:
    made: Any = Registry().find("dataset", name).load()
    whole, kept = (made(validation=n).holds() for n in (0, 100))
    assert kept == Items(whole.shape, whole.train - 100, whole.test, 100)


def bench_run(folder: Path, *words: str) -> tuple[int, str]:
    """Run `bench run` on the grid there; return its exit code and all that it printed, on one line."""
    command = [sys.executable, "-m", "bench", "run", "--grid", "grid.toml", "--store", "store", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_what_a_data_set_says_is_refused_by_dry_run_and_run_alike(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE + "\n    def holds(self):\n        return Items((4, 4), 40, 20)\n")
    (tmp_path / "grid.toml").write_text(GRID)
    runs = [bench_run(tmp_path, *words) for words in (["--dry-run"], [], ["--on", "slurm", "--dry-run"])]
    assert runs[1:] == [runs[0]] * 2
    assert runs[0] == (2, f"error: grid.toml: data set mine: {TOO_MANY}allowed")


def test_what_it_does_not_say_a_dry_run_leaves_open_and_the_run_refuses(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "grid.toml").write_text(GRID)
    for where in ("local", "slurm"):
        code, said = bench_run(tmp_path, "--dry-run", "--on", where)
        assert code == 0
        assert SILENT in said
        assert bench_run(tmp_path, "--on", where) == (2, f"error: data set 'mine': {TOO_MANY}allowed")
    assert not list((tmp_path / "store").glob("cells/*"))


@pytest.mark.parametrize(
    ("right", "wrong", "sentence"),
    [
        (
            ".astype(np.uint8)",
            ".astype(np.float32) / 255",
            f"data set 'mine': {BRIGHTNESS}, or declare another white",
        ),
        (
            VERSION,
            VERSION + '    unit: ClassVar[str] = "bits/dim"\n',
            "grid.toml: data set mine: its unit is 'bits/dim', and it has no change of variables from its pixels "
            "(log_jacobian and brightness); extend bench.data.dequantised.Dequantised, or say unit = 'nats'",
        ),
        (
            VERSION,
            VERSION + "\n    def holds(self):\n        return Items((4, 4), 50, 20)\n",
            "data set 'mine': Mine.holds says 50 train, 0 validation and 20 test items of 4x4, and load gives 40 "
            "train, 0 validation and 20 test items of 4x4",
        ),
    ],
    ids=["brightness", "bits", "other items"],
)
def test_a_flaw_of_the_data_is_one_sentence_before_training(
    right: str, wrong: str, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(MINE.replace(right, wrong))
    (tmp_path / "grid.toml").write_text(GRID.replace("batch_size = 41", "batch_size = 20"))
    assert bench_run(tmp_path) == (2, f"error: {sentence}")
    assert not list((tmp_path / "store").glob("cells/*"))


def test_a_cell_that_only_its_worker_can_refuse_says_so_in_its_record(tmp_path: Path) -> None:
    """Such as a job whose data are others than when it was submitted."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "grid.toml").write_text(GRID)
    request = Request(str(tmp_path / "grid.toml"), store=tmp_path / "store", data_dir=tmp_path)
    survey = request.survey()
    (job,) = survey.jobs()
    Worker(Setup("grid", survey.store.folder, request.registry, tmp_path, "cpu", provenance("cpu"))).carry_out(job)
    (standing,) = request.survey().standings
    assert standing.record is not None
    assert (standing.record.status, standing.record.reason) == ("error", f"data set 'mine': {TOO_MANY}allowed")
    assert standing.record.scores == []


# ---------------------------------------------------------------- from Python


def arrays(**options: Any) -> Any:
    return bench.dataset("arrays", **{"train": IMAGES, "test": IMAGES, **options})


@pytest.mark.parametrize("strategy", ["normal", "sliced-score-matching", "latent-mixture", "noise-contrastive"])
def test_one_model_is_refused_in_the_same_words(strategy: str) -> None:
    with pytest.raises(UserError) as raised:
        bench.strategy(strategy).train(arrays(), batch_size=41, latent=2)
    assert str(raised.value) == f"data set 'arrays': {TOO_MANY}allowed"
    with pytest.raises(UserError, match=r"^data set 'digits': train.batch_size = 2000 is more than the 1,500 items"):
        bench.strategy(strategy).train(bench.dataset("digits"), batch_size=2000)


@pytest.mark.parametrize("strategy", ["normal", "sliced-score-matching", "latent-mixture", "noise-contrastive"])
def test_training_without_a_step_is_an_error_and_never_a_state(strategy: str, tmp_path: Path) -> None:
    """Whoever calls `fit` by itself."""
    dataset: Any = Registry().find("dataset", "digits").load()()
    plugin: Any = Registry().find("strategy", strategy).load()()
    task = Task(dataset, dataset.load(tmp_path), NETWORKS, Budget(epochs=1, batch_size=1501), Evaluation())
    with pytest.raises(UserError, match=r"^train.batch_size = 1501 is more than the 1,500 items to train on"):
        plugin.fit(task, Run(0, "cpu", tmp_path))


def test_arrays_of_the_store_are_checked_by_the_dry_run(tmp_path: Path) -> None:
    made = arrays(validation=10)
    Store(tmp_path).keep(made.content)
    tables = {
        "title": "arrays",
        "dataset": [made.table],
        "train": {"batch_size": 31},
        "strategy": [{"name": "normal"}],
    }
    request = Request(tables, store=tmp_path, data_dir=tmp_path)
    survey = request.survey()
    said: Callable[[], Any]
    for said in (
        Plan(request, survey, survey.jobs()).unchecked,
        Plan(request, survey, survey.jobs()).carry_out,
        lambda: bench.run(tables, store=tmp_path, datasets=[made], progress=False),
    ):
        with pytest.raises(UserError) as raised:
            said()
        assert str(raised.value) == (
            "data set 'arrays': train.batch_size = 31 is more than the 30 items to train on (validation keeps 10), so "
            "that no step would be made; at most 30 is allowed"
        )


@pytest.mark.parametrize("name", ["train", "test"])
def test_arrays_of_black_and_white_are_not_divided_by_255(name: str) -> None:
    with pytest.raises(
        UserError, match=f"^the pixels of {name} are 0 .. 1, and white = 255, by which they are divided"
    ):
        arrays(**{name: (IMAGES > 127).astype(np.uint8)})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"train": IMAGES * 0}, "the numbers of train, prepared, are all 0: nothing can be learned"),
        (
            {"train": np.ones((9, 2), np.float32), "test": np.ones((9, 2), np.float32), "likelihood": "gaussian"},
            "the numbers of train, prepared, are all 1: nothing can be learned",
        ),
    ],
)
def test_arrays_that_hold_one_number_are_refused_when_they_are_loaded(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError) as raised:
        arrays(**options).splits()
    assert str(raised.value) == f"data set 'arrays': {sentence}"


def test_a_job_knows_the_data_of_its_own_options(tmp_path: Path) -> None:
    settings = {"dataset.digits.validation": [0, 300]}
    jobs = Request("digits", settings, strategies=["normal"], seeds=1, store=tmp_path).survey().jobs()
    assert [job.cell.options["validation"] for job in jobs] == [0, 300]
    ready = verified(jobs, Registry(), tmp_path)
    digits: Any = Registry().find("dataset", "digits").load()
    assert [job.data["sha256"] for job in ready] == [digits(validation=n).load(tmp_path).sha256 for n in (0, 300)]


def test_planning_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom bench import grid\nfrom bench.plugins import Registry\n"
        "[grid.load(name, Registry()) for name in grid.embedded()]\n"
        "print(*[name for name in ('torch', 'numpy', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_a_data_set_that_extends_nothing_is_looked_at_when_it_is_loaded() -> None:
    class Bare:
        unit = "nats"

        def refuses(self, networks: Networks) -> str | None:
            return None

    bare: Dataset = Bare()  # type: ignore[assignment]
    assert demands.declared(bare) is None
    assert demands.refusal(bare, None, NETWORKS, Budget(), Evaluation()) is None
    assert demands.refusal(bare, Items((2,), 9, 9), NETWORKS, Budget(), Evaluation()) is not None
