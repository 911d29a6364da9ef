"""The face: runs, results, cells, models and one training, from Python."""

from __future__ import annotations

import doctest
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import bench
from bench.face import Results
from bench.protocol import UserError
from bench.report import parquet as tables

FACE: Any = bench  # as a caller without types sees it
ROOT = Path(__file__).resolve().parents[1]
QUICK = {
    "train.epochs": 1,
    "evaluate.images": 40,
    "evaluate.importance_samples": 100,
    "evaluate.ais_nll.images": 0,
    "evaluate.ais_nll.simulated": 0,
    "headline.metric": "nll",
}
MINE = '''"""Mine."""
from pathlib import Path
from bench import priors
from bench.strategy import Strategy

class Mine(Strategy):
    """A plain VAE."""
    def prior(self, task, vae, noise):
        """Return N(0, I)."""
        return priors.StandardNormal(task.networks.latent)
'''


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("face") / "digits"


@pytest.fixture(scope="module")
def results(store: Path) -> Results:
    ran: Results = bench.run(
        "digits", strategies=["normal", "vampprior", "stein"], seeds=2, set=QUICK, jobs=1, store=store, progress=False
    )
    return ran


def test_a_table_holds_means_differences_and_verdicts(results: Results) -> None:
    table = results.table()
    assert table["strategy"].tolist() == ["normal", "vampprior", "stein"]
    assert table["seeds"].tolist() == [2, 2, 2]
    assert set(table["metric"]) == {"nll"}
    assert table["verdict"][0] == "baseline"
    assert table["verdict"][1:].tolist() == ["none below 3 seeds (2 planned)"] * 2
    assert table["p"].isna().all()
    assert ((table["lower"] < table["mean"]) & (table["mean"] < table["upper"])).all()
    values = results.frame().query("metric == 'nll'").groupby("strategy")["value"].mean()
    assert np.allclose(table["mean"], values[table["strategy"]])
    other = results.table("vlb", baseline="stein")
    assert other["verdict"].tolist() == ["", "", ""], "only the headline metric has verdicts"
    assert results.table(baseline="stein")["verdict"].tolist()[2] == "baseline"
    means = other["mean"].tolist()
    assert other["difference"][0] == pytest.approx(means[0] - means[2])


def test_a_name_that_is_not_there_is_answered_with_the_nearest(results: Results) -> None:
    with pytest.raises(UserError, match=r'no metric "nl"; did you mean "nll"\?'):
        results.table("nl")
    with pytest.raises(UserError, match=r'no strategy "stien"; did you mean "stein"\?'):
        results.table(baseline="stien")
    with pytest.raises(UserError, match=r'no strategy "vamprior"; did you mean "vampprior"\?'):
        results.cell("vamprior")
    with pytest.raises(UserError, match=r"stein has no record of seed 7; it has 0, 1"):
        results.cell("stein", seed=7)


def test_arguments_are_named_as_in_python() -> None:
    with pytest.raises(UserError, match=r"^set=\{'train.epochs': 0\}: train.epochs = 0 is not allowed; it must be"):
        bench.run("digits", set={"train.epochs": 0})
    with pytest.raises(UserError, match=r"^device='cudo' is unknown; allowed: cpu, cuda"):
        bench.run("digits", device="cudo", store="nowhere-at-all")
    with pytest.raises(UserError, match=r"^jobs=0 is not allowed"):
        bench.run("digits", jobs=0)
    with pytest.raises(UserError, match=r'^unknown grid "dgits"; did you mean "digits"\?'):
        bench.grid("dgits")
    with pytest.raises(UserError, match=r"^strategies='stien': unknown strategy"):
        bench.grid("digits", strategies=["stien"])
    assert not Path("nowhere-at-all", "cells").exists()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: FACE.run(3), r"the grid is 3; it must be a name or a file"),
        (lambda: FACE.run("digits", seeds=2.0), r"seeds=2\.0 is not allowed; it must be a whole number or a list"),
        (lambda: FACE.run("digits", strategies=None), r"strategies is not allowed; it must be a list of names"),
        (lambda: FACE.run("digits", strategies=[3]), r"strategies is 3; it must be a name or a file"),
        (lambda: FACE.run("digits", set=[1]), r"set=\[1\] is not allowed; it must be a dict such as"),
        (lambda: FACE.run("digits", device=3), r"device=3 is unknown; allowed: cpu, cuda"),
        (lambda: FACE.run("digits", store=3), r"store is 3; give the path of a file or folder"),
        (lambda: FACE.run("digits", data_dir=3), r"data_dir is 3; give the path of a file or folder"),
        (lambda: FACE.run("digits", datasets=[3]), r"a data set is 3; it must be a name or a file"),
        (lambda: FACE.run("digits", datasets=3), r"datasets=3 is not allowed; it must be a list of data sets"),
        (
            lambda: FACE.tune("digits", trials=1, device=3, set={"dataset.digits.validation": 300}),
            r"device=3 is unknown",
        ),
        (lambda: FACE.run("digits", datasets="digts"), r'.*unknown data set "digts"; did you mean "digits"\?'),
        (lambda: FACE.run("digits", plugins=3), r"plugins=3 is not allowed; it must be a list of names or files"),
        (lambda: FACE.run("digits", retries=-1, jobs=1), r"retries=-1 is not allowed; it must be a whole number"),
        (lambda: FACE.run("digits", timeout="1", jobs=1), r"timeout='1' is not allowed; it must be a number"),
        (lambda: FACE.tune("digits", trials=1, strategies=[3]), r"strategies is 3; it must be a name or a file"),
        (lambda: FACE.results(3), r"the run store or Parquet file is 3; give the path"),
        (lambda: FACE.dataset(np.zeros(3)), r"the name is array.*; it must be a name or a file"),
        (lambda: FACE.strategy(3), r"the name is 3; it must be a name or a file"),
        (lambda: FACE.export_store(3, "a.zip"), r"the run store is 3; give the path"),
        (lambda: FACE.TensorBoard(3), r"the folder of event files is 3; give the path"),
    ],
)
def test_an_argument_of_another_type_is_one_sentence(
    call: Callable[[], Any], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"^{sentence}"):
        call()
    assert not list(tmp_path.glob("runs/*/cells/*"))


def test_a_cell_is_asked_for_by_name_and_number(results: Results) -> None:
    for seed in (True, "0", 0.0):
        with pytest.raises(UserError, match=rf"^seed={seed!r} is not allowed; it must be a whole number$"):
            results.cell("normal", seed=seed)  # type: ignore[arg-type]
    assert results.cell("normal", seed=np.int64(1)).record.seed == 1  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"^the strategy is 0; it must be a name: normal, vampprior, stein$"):
        results.cell(0)  # type: ignore[arg-type]


def test_what_holds_no_record_is_refused(results: Results, store: Path, tmp_path: Path) -> None:
    tables.write_parquet(results.frame()[:0], tmp_path / "records.parquet")
    with pytest.raises(UserError, match=r"^no record lies in \S+records\.parquet$"):
        bench.results(tmp_path / "records.parquet")


def test_the_names_of_the_face_are_listed() -> None:
    assert {"run", "results", "tune", "grid"} <= set(dir(bench))


def test_a_store_is_read_as_it_was_written(results: Results, store: Path) -> None:
    again = bench.results(store)
    pd.testing.assert_frame_equal(again.table(), results.table())
    assert len(again.curves()) > 0
    assert "<table" in again._repr_html_()
    assert "vampprior" in repr(again)


def test_parquet_alone_has_tables_and_no_model(results: Results, tmp_path: Path) -> None:
    tables.write_parquet(results.frame(), tmp_path / "records.parquet")
    read = bench.results(tmp_path / "records.parquet")
    assert read.table()["mean"].sort_values().tolist() == results.table()["mean"].sort_values().tolist()
    with pytest.raises(UserError, match=r"comes from a Parquet file; the rest lies in its run store alone"):
        read.cell("normal").model()


@pytest.mark.parametrize("strategy", ["normal", "vampprior", "stein"])
def test_a_model_is_the_one_that_was_scored(results: Results, strategy: str) -> None:
    cell = results.cell(strategy, seed=1)
    model = cell.model()
    splits = bench.dataset("digits").splits()
    test = splits.test[:40]
    estimates = -np.asarray(model.log_prob(test, samples=100, seed=3))
    scored = cell.arrays["nll"]
    # both are importance-weighted estimates on the same binarised items with other draws: their mean difference is
    # within 5 standard errors of what single items differ by
    differences = estimates - scored
    assert abs(differences.mean()) < 5 * differences.std(ddof=1) / len(differences) ** 0.5 + 1e-3
    assert abs(differences.mean()) < 0.1
    assert cell.scores.loc["nll", "value"] == pytest.approx(scored.mean(), abs=1e-3)


def test_arrays_come_in_and_go_out_alike(results: Results) -> None:
    model = results.cell("stein").model()
    x = bench.dataset("digits").splits().test[:5]
    encoded = model.encode(x)
    assert encoded.mean.shape == encoded.std.shape == (5, 16)
    assert isinstance(encoded.mean, np.ndarray)
    tensor = model.encode(torch.from_numpy(x))
    assert isinstance(tensor.mean, torch.Tensor)
    assert np.array_equal(tensor.mean.numpy(), encoded.mean)
    assert model.decode(encoded.mean).shape == model.reconstruct(x).shape == (5, 8, 8)
    assert isinstance(model.reconstruct(torch.from_numpy(x)), torch.Tensor)
    assert model.sample(3, seed=1).shape == (3, 8, 8)
    assert model.sample_prior(3).shape == (3, 16)
    assert np.array_equal(model.sample(3, seed=1), model.sample(3, seed=1))
    assert not np.array_equal(model.sample(3, seed=1), model.sample(3, seed=2))
    assert model.log_prob(x, samples=10).shape == (5,)
    assert np.array_equal(model.log_prob(x, samples=10, seed=4), model.log_prob(x, samples=10, seed=4))


def test_wrong_arrays_are_refused_in_one_sentence(results: Results) -> None:
    model = results.cell("normal").model()
    with pytest.raises(UserError, match=r"^x is \(2, 7, 7\) uint8; it must be \(N, 8, 8\) uint8, as the data set"):
        model.encode(np.zeros((2, 7, 7), np.uint8))
    with pytest.raises(UserError, match=r"^z is \(2, 3\) float64; it must be \(N, 16\) floats"):
        model.decode(np.zeros((2, 3)))
    with pytest.raises(UserError, match=r"^n is 0; it must be a whole number, at least 1"):
        model.sample(0)
    for number in (True, 2.0, "2", None):
        with pytest.raises(UserError, match=r"^n is .*; it must be a whole number, at least 1"):
            model.sample(number)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"^seed is -1; it must be a whole number, at least 0"):
        model.sample_prior(2, seed=-1)
    assert np.array_equal(model.sample(np.int64(2), seed=np.int64(1)), model.sample(2, seed=1))  # type: ignore[arg-type]
    prepared = np.zeros((3, 64))
    prepared[2, 5] = np.nan
    for items in (prepared, torch.from_numpy(prepared)):
        with pytest.raises(UserError, match=r"^x\[2\] has a number that is not finite"):
            model.encode(items)
    with pytest.raises(UserError, match=r"^x has values outside of 0 to 1, in which prepared items lie"):
        model.encode(np.full((2, 64), 16.0))  # brightness as others store it
    with pytest.raises(UserError, match=r"^z\[0\] has a number that is not finite"):
        model.decode(np.full((1, 16), np.inf))
    with pytest.raises(UserError, match=r"a Bernoulli likelihood is one of zeros and ones"):
        model.log_prob(np.full((2, 64), 0.5))
    with pytest.raises(UserError, match=r"^x is a str that is no array of numbers"):
        model.encode("x")  # type: ignore[arg-type]


def test_loading_and_training_leave_the_users_generators_alone(results: Results) -> None:
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    wanted = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    results.cell("normal").model()
    assert torch.equal(torch.rand(3), wanted[0])
    assert np.array_equal(np.random.rand(3), wanted[1])  # noqa: NPY002


def test_a_model_whose_code_changed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine" / "strategies" / "mine.py"
    file.parent.mkdir(parents=True)
    file.write_text(MINE)
    where: dict[str, Any] = {"store": tmp_path / "store"}
    ran = bench.run("digits", strategies=[file], seeds=1, set=QUICK, jobs=1, progress=False, **where)
    assert ran.cell("mine").model().sample(2).shape == (2, 8, 8)
    with pytest.raises(UserError, match=r"cannot be loaded: .*; name its folder or file in `plugins`"):
        bench.results(tmp_path / "store").cell("mine").model()
    for plugins in ([tmp_path / "mine"], [file]):
        read = bench.results(tmp_path / "store", plugins=plugins)
        assert read.cell("mine").model().sample(2).shape == (2, 8, 8)
    marker = tmp_path / "executed"
    file.write_text(f"{MINE}\nPath({str(marker)!r}).touch()\n")
    bench.results(tmp_path / "store").table()
    assert not marker.exists(), "what a store names is not executed"
    with pytest.raises(UserError, match=r"a plugin of it changed since; run it again"):
        bench.results(tmp_path / "store", plugins=[file]).cell("mine").model()


def test_a_model_that_is_gone_or_damaged_is_refused(results: Results, store: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(store, copied)
    cell = bench.results(copied).cell("normal")
    files = list((copied / "cells" / cell.record.cell).rglob("*.pt"))
    for file in files:
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(
        UserError, match=r"state-\w+\.pt is cut short or altered: its SHA-256 is not the one in its name"
    ):
        cell.model()
    for file in files:
        file.unlink()
    with pytest.raises(UserError, match=r"the state of cell \w+ \(normal seed 0\) is gone"):
        cell.model()


def test_one_training_is_that_of_a_cell(results: Results) -> None:
    torch.manual_seed(1)
    trained = bench.strategy("vampprior", components=16).train(
        bench.dataset("digits"),
        epochs=1,
        latent=16,
        batch_size=64,
        networks={"encoder": {"hidden": [128, 128]}, "decoder": {"hidden": [128, 128]}},
        evaluate={"images": 40, "importance_samples": 100, "ais_nll": {"images": 0, "simulated": 0}},
    )
    scores = results.cell("vampprior", seed=0).scores
    assert trained.scores["value"].to_dict() == scores["value"].to_dict()
    assert trained.model.sample(2).shape == (2, 8, 8)
    assert set(trained.curves.columns) == {"epoch", "step", "metric", "value"}


def test_a_script_without_a_guard_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import bench, sys\n"
        "assert not {'torch', 'pandas', 'pydantic'} & set(sys.modules)\n"
        "open('bodies.txt', 'a').write('once\\n')\n"
        f"results = bench.run('digits', strategies=['normal'], seeds=1, set={QUICK!r}, jobs=1)\n"
        "print([cell.record.status for cell in results.cells])\n"
    )
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['ok']\n"
    assert (tmp_path / "bodies.txt").read_text() == "once\n"


def test_a_process_that_was_forked_after_a_sweep_is_told_why_it_cannot_run_one(tmp_path: Path) -> None:
    script = tmp_path / "forks.py"
    script.write_text(f"""
import os
import sys
import bench

if __name__ == "__main__":
    how = dict(strategies=["normal"], seeds=1, set={QUICK!r}, jobs=1, progress=False)
    bench.run("digits", store="first", **how)
    if child := os.fork():
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    try:
        bench.run("digits", store="second", **how)
    except bench.protocol.UserError as error:
        print(error, flush=True)
        os._exit(7)
""")
    ran = subprocess.run([sys.executable, script.name], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert ran.returncode == 7, ran.stderr
    assert ran.stdout == (
        "no worker process starts: this process was forked from one that has run a sweep; start a process of its own\n"
    )


def test_a_grid_may_be_a_dict(tmp_path: Path) -> None:
    tables = {"dataset": [{"name": "digits"}], "strategy": [{"name": "stein", "penalty": [0.1, 1.0]}], "seeds": (0, 3)}
    grid = bench.grid(tables, set={"strategy.stein.lr": 1e-3})
    assert [cell.seed for cell in grid.cells] == [0, 3, 0, 3]
    assert {cell.hyper["lr"] for cell in grid.cells} == {1e-3}
    assert tables["strategy"] == [{"name": "stein", "penalty": [0.1, 1.0]}]
    with pytest.raises(UserError, match=r"^the grid: unknown key sedes; did you mean \"seeds\"\?"):
        bench.grid({**tables, "sedes": 1})


@pytest.mark.parametrize("module", ["bench.face.sweeps", "bench.face.training"])
def test_the_examples_in_docstrings_hold(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_STORE", raising=False)
    outcome = doctest.testmod(importlib.import_module(module))
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_modules_and_functions_of_the_face_share_their_names() -> None:
    code = (
        "import bench, json; from bench.strategy import Strategy; from bench.grid import load\n"
        "print(json.dumps([callable(getattr(bench, name)) for name in bench.__all__ if name != '__version__']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout) == [True] * 11
