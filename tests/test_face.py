"""What `import bench` gives: the same cells, records and refusals as the command line."""

from __future__ import annotations

import doctest
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp

import bench
from bench import face
from bench.protocol import UserError
from bench.sweep.fingerprints import fingerprints
from bench.sweep.pool import Screen

ROOT = Path(__file__).resolve().parents[1]
QUICK: dict[str, Any] = {
    "train.epochs": 1,
    "evaluate.images": 20,
    "evaluate.importance_samples": 5,
    "evaluate.ais_nll.images": 0,
    "evaluate.ais_nll.simulated": 0,
}
LOW = {"images": 20, "importance_samples": 5, "ais_nll": {"images": 0, "simulated": 0}}


class Kept(Screen):
    """A screen that keeps what it is told."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def end(self, slot: int, job: Any, ending: Any) -> None:
        self.ended.append(ending.status)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[face.Results, Path, Kept]:
    """Two strategies of two seeds each, in a store."""
    store, screen = tmp_path_factory.mktemp("store") / "runs", Kept()
    results = bench.run(
        "digits", seeds=2, strategies=["normal", "vampprior"], set=QUICK, jobs=1, store=store, progress=screen
    )
    return results, store, screen


# ---------------------------------------------------------------- import


def test_importing_bench_imports_nothing_large() -> None:
    code = "import bench, sys; print(sorted({'torch', 'pandas', 'pydantic', 'numpy', 'click'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("before", ["bench.grid", "bench.strategy", "bench.face", "bench.verbs"])
def test_a_module_of_the_same_name_does_not_hide_a_function(before: str) -> None:
    code = f"import {before}; import bench; from bench.grid import load; cells = bench.grid('digits', seeds=3).cells; "
    code += "print({cell.seed for cell in cells}, bench.strategy('normal').strategy.name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "{0, 1, 2} normal\n"


def test_the_examples_of_its_docstrings_hold() -> None:
    tally = doctest.testmod(face, extraglobs={"bench": bench})
    assert tally.failed == 0
    assert tally.attempted >= 5


# ---------------------------------------------------------------- sweeps and results


def test_a_sweep_leaves_a_row_for_each_strategy(swept: tuple[face.Results, Path, Kept]) -> None:
    results, _, screen = swept
    assert screen.ended == ["ok"] * 4
    table = results.table()
    assert list(table["strategy"]) == ["normal", "vampprior"]
    assert list(table["seeds"]) == [2, 2]
    assert (table["lower"] < table["mean"]).all()
    assert (table["mean"] < table["upper"]).all()


def test_the_mean_and_difference_are_those_of_the_records(swept: tuple[face.Results, Path, Kept]) -> None:
    results, _, _ = swept
    frame, table = results.frame(), results.table("vlb").set_index("strategy")
    ours = frame[frame["metric"] == "vlb"].pivot(index="seed", columns="strategy", values="value")
    assert table["mean"].to_dict() == pytest.approx(ours.mean().to_dict())
    assert table["difference"]["vampprior"] == pytest.approx((ours["vampprior"] - ours["normal"]).mean())
    assert table["difference"].isna().to_dict() == {"normal": True, "vampprior": False}
    other = results.table("vlb", baseline="vampprior").set_index("strategy")
    assert other["difference"]["normal"] == pytest.approx(-table["difference"]["vampprior"])


def test_its_frame_is_that_of_the_parquet_file(swept: tuple[face.Results, Path, Kept], tmp_path: Path) -> None:
    results, store, _ = swept
    path = tmp_path / "digits.parquet"
    settings = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
    run_cli("export", "--grid", "digits", "--store", str(store), "--out", str(path), "--seeds", "2",
            "--strategy", "normal", "--strategy", "vampprior", *settings)  # fmt: skip
    assert results.frame().columns.equals(pd.read_parquet(path).columns)
    read = bench.results(path)
    assert read.table().equals(results.table())
    with pytest.raises(UserError, match="Parquet file alone"):
        read.cell("normal").model()


def run_cli(*words: str) -> str:
    """Carry out a command of the command line, which must succeed; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_knows_the_same_cells(swept: tuple[face.Results, Path, Kept]) -> None:
    _, store, _ = swept
    settings = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
    words = ("status", "--grid", "digits", "--store", str(store), "--seeds", "2", *settings, "--json")
    cells = json.loads(run_cli(*words, "--strategy", "normal", "--strategy", "vampprior"))["cells"]
    assert [cell["status"] for cell in cells] == ["ok"] * 4


def test_the_same_call_runs_nothing_again(swept: tuple[face.Results, Path, Kept]) -> None:
    _, store, _ = swept
    before = sorted(path.name for path in store.glob("cells/*/*"))
    screen = Kept()
    bench.run("digits", seeds=2, strategies=["normal", "vampprior"], set=QUICK, store=store, progress=screen)
    assert screen.ended == []
    assert sorted(path.name for path in store.glob("cells/*/*")) == before


def test_a_cell_shows_what_it_left(swept: tuple[face.Results, Path, Kept]) -> None:
    results, store, _ = swept
    cell = results.cell("vampprior", seed=1)
    assert repr(cell) == "Cell(digits vampprior seed 1: ok)"
    by_name = {score.metric: score.value for score in cell.record.scores}
    assert cell.scores["value"].to_dict() == by_name
    assert set(cell.curves["metric"]) >= {"bound"}
    assert cell.arrays
    again = bench.results(store).cell("vampprior", seed=1)
    assert again.scores.equals(cell.scores)
    assert [(one.label, one.record.seed) for one in results.cells] == [
        *(("normal", seed) for seed in (0, 1)),
        *(("vampprior", seed) for seed in (0, 1)),
    ]


def test_a_notebook_shows_results_as_a_table(swept: tuple[face.Results, Path, Kept]) -> None:
    html = swept[0]._repr_html_()
    assert html.count("<tr>") == 3
    assert "vampprior" in html


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda results, _: results.cell("vamp"), 'no strategy "vamp"; did you mean "vampprior"'),
        (lambda results, _: results.cell("normal", seed=7), "no record with seed 7; it has 0, 1"),
        (lambda results, _: results.cell("normal", dataset="digit"), 'did you mean "digits"'),
        (lambda results, _: results.table("vlbb"), 'no metric "vlbb"; did you mean "vlb"'),
        (lambda results, _: results.table(baseline="norm"), 'no strategy "norm"; did you mean "normal"'),
        (lambda _, store: bench.results(), "needs the folder of a run store"),
        (lambda _, store: bench.results(store / "no"), "no run store"),
        (lambda _, store: bench.results(store.parent), "is no run store"),
        (lambda _, store: bench.results(store / "no.parquet"), "no.parquet"),
        (lambda _, store: bench.run("dgits"), 'unknown grid "dgits"; did you mean "digits"'),
        (lambda _, store: bench.run("digits", set={"train.epoch": 3}), 'did you mean "epochs"'),
        (lambda _, store: bench.run("digits", seeds=0), "seeds = 0 is not allowed"),
        (lambda _, store: bench.run("digits", jobs=0, store=store / "x"), "jobs"),
        (lambda _, store: bench.run("digits", device="gpu", store=store / "x"), "device"),
        (lambda _, store: bench.strategy("norml"), 'did you mean "normal"'),
        (lambda _, store: bench.strategy("normal", x=3), "unknown key"),
        (lambda _, store: bench.dataset("digit"), 'did you mean "digits"'),
        (lambda _, store: bench.dataset("digits", x=3), "unknown key"),
    ],
)
def test_refusals_are_sentences(ask: Any, message: str, swept: tuple[face.Results, Path, Kept], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as refused:
        ask(swept[0], tmp_path)
    assert "\n" not in str(refused.value)
    assert "--" not in str(refused.value)  # no option of the command line, which this user did not type
    assert list(tmp_path.iterdir()) == []


def test_own_arrays_run_in_a_grid(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 4, 4), dtype=np.uint8)
    own: Any = bench.dataset("arrays", train=pixels, test=pixels[:20])
    plan: dict[str, Any] = {"strategies": ["normal"], "seeds": 1, "jobs": 1, "progress": False, "set": QUICK}
    results = bench.run("digits", datasets=[own], store=tmp_path / "own", **plan)
    cell = results.cell("normal")
    assert cell.record.status == "ok"
    assert cell.record.dataset.options["sha256"] == own.sha256
    assert (tmp_path / "own" / "data" / f"{own.sha256}.npz").exists()
    other: Any = bench.dataset("arrays", train=pixels[::-1], test=pixels[:20])
    screen = Kept()
    bench.run("digits", datasets=[other], store=tmp_path / "own", **{**plan, "progress": screen})
    assert screen.ended == ["ok"]  # other arrays are another cell


# ---------------------------------------------------------------- models


def test_a_model_of_a_record_is_what_was_scored(swept: tuple[face.Results, Path, Kept]) -> None:
    cell = swept[0].cell("vampprior", seed=0)
    model = cell.model()
    x = bench.dataset("digits").load(Path()).test[:20]
    posterior = model.encode(x)
    assert posterior.mean.shape == posterior.std.shape == (20, model.prior.dim)
    assert model.decode(posterior.mean).shape == model.reconstruct(x).shape == x.shape
    assert np.array_equal(model.sample(3, seed=1), model.sample(3, seed=1))
    prepared = bench.dataset("digits").fixed(torch.from_numpy(x))
    nll = -model.log_prob(prepared, samples=5, seed=3)
    # each is a mean over the same 20 items of estimates with 5 samples; their spread over seeds is the standard error
    spread = np.std([model.log_prob(prepared, samples=5, seed=seed).mean().item() for seed in range(20)], ddof=1)
    assert abs(nll.mean().item() - cell.scores["value"]["nll"]) < 5 * spread * np.sqrt(2)


def test_a_model_has_no_state_that_later_code_made(
    swept: tuple[face.Results, Path, Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = swept[0].cell("normal")
    monkeypatch.setattr("bench.face.fingerprints", lambda plugins: replace(fingerprints(plugins), fit="0" * 64))
    with pytest.raises(UserError, match="changed since it was trained; run it again"):
        cell.model()


def test_a_model_needs_its_plugins_named(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "strategies"
    folder.mkdir(parents=True)
    (folder / "plain.py").write_text((ROOT / "strategies" / "normal.py").read_text())
    store, mine = tmp_path / "store", [tmp_path / "mine"]
    plan: dict[str, Any] = {"seeds": 1, "jobs": 1, "progress": False, "set": QUICK}
    table = {"title": "one", "seeds": 1, "dataset": [{"name": "digits"}], "strategy": [{"name": "plain"}]}
    bench.run({**table, "networks": {"latent": 2}}, store=store, plugins=mine, **plan)
    with pytest.raises(UserError, match=r"needs a plugin that is not here.*plugins=\[\.\.\.\]"):
        bench.results(store).cell("plain").model()
    assert bench.results(store, plugins=mine).cell("plain").model().sample(2).shape == (2, 8, 8)


@pytest.mark.parametrize("tensors", [False, True])
def test_a_model_gives_what_it_takes(tensors: bool) -> None:
    model, _, _ = bench.strategy("normal").train(bench.dataset("digits"), epochs=1, latent=2, evaluate=LOW)
    x: Any = bench.dataset("digits").load(Path()).test[:4]
    x = torch.from_numpy(x) if tensors else x
    kind = torch.Tensor if tensors else np.ndarray
    z = model.encode(x)
    results = [z.mean, z.std, model.decode(z.mean), model.reconstruct(x), model.log_prob(x, samples=2)]
    assert all(isinstance(one, kind) for one in results)
    with pytest.raises(UserError, match=r"x is \(4, 3\) float64; it must be \(N, 8, 8\) uint8"):
        model.encode(np.zeros((4, 3)))


def test_log_prob_is_the_integral_over_z() -> None:
    """With one latent dimension, quadrature gives log p(x) exactly; the estimate must lie within its standard error."""
    data = bench.dataset("digits")
    model: Any = bench.strategy("normal").train(data, epochs=1, latent=1, evaluate=LOW).model
    x = data.fixed(torch.from_numpy(data.load(Path()).test[:6]))
    nodes, weights = np.polynomial.legendre.leggauss(400)
    z = torch.tensor(8 * nodes[:, None], dtype=torch.float32)
    with torch.inference_mode():
        log_joint = (
            torch.stack([model.vae.decoder.log_prob(x[i].expand(400, -1), z) for i in range(6)]).double().numpy()
        )
    log_prior = -0.5 * (8 * nodes) ** 2 - 0.5 * np.log(2 * np.pi)
    exact = logsumexp(log_joint + log_prior + np.log(8 * weights), axis=1)
    many = np.array([model.log_prob(x, samples=500, seed=seed).numpy() for seed in range(20)])
    error = many.std(axis=0, ddof=1) / np.sqrt(20)
    assert (np.abs(many.mean(axis=0) - exact) < 5 * error + 1e-4).all()  # 1e-4: float32 sums over 64 pixels


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("gaussian-pixels", {}, "'gaussian-pixels' on data set 'digits': it is a density of dequantised pixels"),
        ("normal", {"epochs": 0}, "train.epochs = 0 is not allowed"),
        ("normal", {"latent": 0}, "networks.latent = 0 is not allowed"),
        ("normal", {"networks": {"encoder": {"kind": "resnett"}}}, 'did you mean "resnet"'),
        ("normal", {"evaluate": {"image": 3}}, 'did you mean "images"'),
    ],
)
def test_training_one_model_says_why_it_cannot(name: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bench.strategy(name).train(bench.dataset("digits"), **values)


def test_one_training_is_that_of_a_cell(swept: tuple[face.Results, Path, Kept]) -> None:
    cell = swept[0].cell("vampprior", seed=1)
    networks = {side: {"hidden": [128, 128]} for side in ("encoder", "decoder")}
    trainer = bench.strategy("vampprior", **cell.record.hyper)
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    _, scores, arrays = trainer.train(
        bench.dataset("digits"), epochs=1, latent=16, seed=1, batch_size=64, networks=networks, evaluate=LOW
    )
    assert torch.equal(torch.rand(3), wanted)  # the user's own generators are left alone
    assert scores["value"].to_dict() == cell.scores["value"].to_dict()
    assert set(arrays) == set(cell.arrays)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda model: model.encode(np.zeros((2, 7, 7), np.uint8)), r"x is \(2, 7, 7\) uint8; it must be \(N, 8, 8\)"),
        (lambda model: model.encode("x"), "x is"),
        (lambda model: model.decode(np.zeros((2, 3))), r"z is \(2, 3\) float64; it must be \(N, 16\) floats"),
        (lambda model: model.sample(0), "n is 0; it must be a whole number, at least 1"),
        (lambda model: model.log_prob(np.full((2, 64), 0.5)), "zeros and ones"),
        (lambda model: model.log_prob(np.zeros((2, 64)), samples=0), "samples is 0"),
    ],
)
def test_wrong_arrays_are_refused(ask: Any, message: str, swept: tuple[face.Results, Path, Kept]) -> None:
    model = swept[0].cell("normal").model()
    with pytest.raises(UserError, match=message):
        ask(model)


def test_a_model_that_is_gone_or_damaged_is_refused(swept: tuple[face.Results, Path, Kept], tmp_path: Path) -> None:
    shutil.copytree(swept[1], tmp_path / "copy")
    cell = bench.results(tmp_path / "copy").cell("normal")
    (file,) = (tmp_path / "copy" / "cells" / cell.record.cell).rglob("*.pt")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError):
        cell.model()
    for left in file.parent.glob("*.pt*"):
        left.unlink()
    with pytest.raises(UserError):
        cell.model()


def test_reading_a_store_executes_none_of_its_plugin_files(tmp_path: Path) -> None:
    file, marker = tmp_path / "mine.py", tmp_path / "executed"
    text = (ROOT / "strategies" / "normal.py").read_text()
    file.write_text(text)
    plan: dict[str, Any] = {"seeds": 1, "jobs": 1, "progress": False, "set": QUICK}
    bench.run("digits", strategies=[str(file)], store=tmp_path / "store", **plan)
    file.write_text(f"{text}\nopen({str(marker)!r}, 'w').close()\n")
    read = bench.results(tmp_path / "store")
    assert list(read.table()["strategy"]) == ["mine"]
    with pytest.raises(UserError, match="mine"):
        read.cell("mine").model()
    assert not marker.exists()


# ---------------------------------------------------------------- worker processes


@pytest.mark.parametrize("guarded", [False, True])
def test_worker_processes_do_not_run_the_script_again(guarded: bool, tmp_path: Path) -> None:
    body = f"bench.run('digits', seeds=1, strategies=['normal', 'vampprior'], set={QUICK!r}, jobs=2, store='runs')\n"
    guard = "if __name__ == '__main__':\n    " if guarded else ""
    (tmp_path / "script.py").write_text(f"import bench\nopen('ran', 'a').write('x')\n{guard}{body}")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=environment, check=True, timeout=300)
    assert (tmp_path / "ran").read_text() == "x"
    assert len(list(tmp_path.glob("runs/cells/*/record-*.json"))) == 2
