"""The worker: every way in which a cell can end leaves its record."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench.grid as grids
from bench.plugins import Registry
from bench.protocol import UserError
from bench.sweep import states
from bench.sweep.attempts import Ending
from bench.sweep.record import Record
from bench.sweep.status import Survey, demand_same_data, survey, verified
from bench.sweep.store import Store
from bench.sweep.wire import Figures, Halt, Note
from bench.sweep.worker import INTERVAL, Setup, Worker

FAKES = Path(__file__).with_name("fakes")

Look = Callable[..., Survey]
CarryOut = Callable[..., tuple[Ending, Record]]


@pytest.fixture
def carry_out(look: Look, setup: Setup, store: Store) -> CarryOut:
    """Carry out one cell in this process and return its ending and its record."""

    def carry_out(how: str, **hyper: Any) -> tuple[Ending, Record]:
        job = look(how, **hyper).jobs()[0]
        ending = Worker(setup).carry_out(job)
        assert isinstance(ending, Ending)
        record = store.record(job.cell.id, job.key)
        assert record is not None
        return ending, record

    return carry_out


def test_a_finished_cell_records_request_scores_clocks_and_circumstances(
    carry_out: CarryOut, store: Store, look: Look
) -> None:
    ending, _ = carry_out("ok")
    standing = look("ok").standings[0]
    cell = standing.cell
    record = json.loads(store.record_path(cell.id, standing.key).read_bytes())
    assert " ".join(record) == (
        "sha256 schema grid cell dataset strategy label hyper seed networks budget evaluation split schedule clip "
        "averaging warmup study status reason last_step attempt restarts scores normalised stability resources device "
        "device_kind torch python platform git fingerprints digests execution tuned started finished"
    )
    assert ending.status == record["status"] == "ok"
    assert (record["schema"], record["grid"], record["cell"], record["label"]) == (2, "fakes", cell.id, cell.label)
    assert record["dataset"] == {"name": "points", "version": "7", "sha256": "5" * 64, "options": {"gone": False}}
    assert (record["strategy"], record["hyper"], record["seed"]) == ("actor", cell.hyper, 0)
    assert record["networks"] == cell.networks
    assert record["budget"] == cell.budget.model_dump(mode="json")
    assert record["evaluation"] == cell.evaluation.model_dump(mode="json")
    assert (record["reason"], record["last_step"], record["attempt"]) == ("", 4, 1)
    assert record["scores"] == [
        {
            "metric": "vlb",
            "unit": "nats",
            "better": "lower",
            "version": 1,
            "value": 2.0,
            "n": 4,
            "estimator": "monte-carlo",
            "stderr_mc": 0.3,
            "stderr_images": 0.4,
            "stderr": 0.5,
            "sys_lower": 2.0,
            "sys_upper": 2.0,
            "unreliable": "",
        }
    ]
    assert record["stability"] == {"resumed_at": 0.0}
    resources = record["resources"]
    assert resources["evaluate_seconds"] == 0.25  # the strategy's own clock, where it has one
    assert 0 <= resources["fit_seconds"] < 5
    assert 0.5 < resources["overhead_seconds"] < 10  # the strategy's and ours
    assert resources["peak_host_bytes"] > 1e7
    assert record["device"] == "cpu"
    assert {"torch", "python", "platform", "git", "started", "finished"} <= record.keys()
    assert set(record["fingerprints"]) == {"plugin", "fit", "evaluate"}


def test_curves_and_arrays_lie_beside_the_record(carry_out: CarryOut, store: Store, look: Look) -> None:
    carry_out("ok")
    found = look("ok").standings[0]
    path = store.record_path(found.cell.id, found.key)
    digests = json.loads(path.read_bytes())["digests"]
    curves = json.loads(path.with_name(f"curves-{found.key}-{digests['curves']}.json").read_text())
    assert curves == [{"epoch": 0, "step": 4, "metric": "bound", "value": 1.5}]
    with np.load(path.with_name(f"arrays-{found.key}-{digests['arrays']}.npz")) as arrays:
        assert arrays["samples"].shape == (2, 2)


@pytest.mark.parametrize("by", ["workspace", "record"])  # of an archive, or an earlier version, the latter alone
def test_what_was_trained_on_other_data_is_neither_scored_nor_resumed(
    look: Look, setup: Setup, store: Store, registry: Registry, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    told: list[Any] = []
    (job,) = look("ok").jobs()
    assert isinstance(Worker(setup).carry_out(job), Ending)
    workspace = store.cell(job.cell.id) / job.workspace
    assert states.data_of(workspace) == "5" * 64
    if by == "record":
        (workspace / states.DATA).unlink()
    (old,) = workspace.glob("state-*.pt")
    points: Any = registry.find("dataset", "points").load()
    load = points.load
    monkeypatch.setattr(points, "load", lambda self, folder: replace(load(self, folder), sha256="6" * 64))

    (again,) = look("ok", evaluate={"importance_samples": 7}).rescored()
    (ready,) = verified([again], registry, setup.data)
    other = r"other data \(SHA-256 55555555\.\.\. instead of 66666666\.\.\.\)"
    with pytest.raises(UserError, match=rf"^points actor seed 0 was trained on {other}; `bench run` with"):
        demand_same_data([ready], store)

    assert isinstance(Worker(setup).carry_out(ready, told.append), Ending)
    record = store.record(ready.cell.id, ready.key)
    assert record is not None
    assert (record.status, record.dataset.sha256, record.last_step) == ("ok", "6" * 64, 4)
    assert any(
        isinstance(one, Note) and re.search(f"trained on {other}: that is set aside", one.sentence) for one in told
    )
    assert states.data_of(workspace) == "6" * 64
    assert (workspace.with_name(f"{workspace.name}.other-data") / old.name).exists(), "nothing is lost"
    demand_same_data([ready], store)


FAULTY = """
from bench import priors
from bench.protocol import NotFinite
from bench.strategy import Strategy, StagedStrategy

class Prior(priors.StandardNormal):
    def energy(self, z):
        if not self.training:
            FAULT
        return super().energy(z)

class Faulty(Strategy):
    "Trains well, and has a fault in the density that is scored."
    def prior(self, task, vae, noise):
        return Prior(task.networks.latent)
"""
BUG = "return 1 / 0"
OVERFLOW = "return 10.0 ** 400"
FLOATING = 'raise FloatingPointError("underflow")'
FINDING = 'raise NotFinite("the energy is not finite")'


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (BUG, "ZeroDivisionError: division by zero"),
        (OVERFLOW, "OverflowError: (34, 'Numerical result out of range')"),
        (FLOATING, "FloatingPointError: underflow"),
        (FINDING, "the energy is not finite at step 2"),
    ],
)
@pytest.mark.parametrize("place", ["energy", "fit_latents", "diagnostics"])
def test_a_bug_in_a_density_is_an_error_and_not_a_finding(
    setup: Setup, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str, reason: str, place: str
) -> None:
    """An error has its traceback in the log and is carried out again; what diverged is a finding, and is not."""
    own = FAULTY.replace("FAULT", fault if place == "energy" else "pass")
    if place != "energy":
        base = "StagedStrategy" if place == "fit_latents" else "Strategy"
        signature = "model, latents, noise" if place == "fit_latents" else "model, latents, scores, noise"
        own = (
            own.replace("Faulty(Strategy)", f"Faulty({base})")
            + f"    def {place}(self, {signature}):\n        {fault}\n"
        )
    folder = tmp_path / "mine" / "strategies"
    folder.mkdir(parents=True)
    (folder / "faulty.py").write_text(own)
    registry = Registry([FAKES, folder.parent])
    small = {"kind": "mlp", "hidden": [4]}
    source = {
        "title": "faults",
        "seeds": 1,
        "dataset": [{"name": "points"}],
        "networks": {"latent": 3, "encoder": small, "decoder": small},
        "train": {"epochs": 1, "batch_size": 32},  # two steps of 64 points
        "evaluate": {"importance_samples": 2, "ais_nll": {"images": 0, "simulated": 0}},
        "strategy": [{"name": "faulty"}],
    }
    grid = grids.expand(source, registry, name="fakes", where="fakes.toml")
    (job,) = survey(grid, store, registry).jobs()
    ending = Worker(replace(setup, registry=registry)).carry_out(job)
    assert isinstance(ending, Ending)
    found = fault == FINDING
    # the fit at one stroke is a step of its own
    words = reason.replace("step 2", "step 3") if place == "fit_latents" else reason
    assert (ending.status, ending.reason) == ("diverged" if found else "error", words)
    log = capsys.readouterr().err
    assert ("Traceback (most recent call last)" in log) is not found
    assert found or reason in log
    assert len(survey(grid, store, registry).jobs(retry=True)) == (0 if found else 1)
    if place == "energy":
        record = store.record(job.cell.id, job.key)
        assert record is not None
        assert record.execution is not None  # it was trained
        assert (record.execution.captured, record.execution.reason) == (False, "the device is cpu")


@pytest.mark.parametrize(
    ("how", "status", "reason", "last_step"),
    [
        ("skip", "skipped", "the task is not to its taste", None),
        ("diverge", "diverged", "the loss is not finite at step 3", 3),
        ("memory", "out-of-memory", "MemoryError: no room", None),
        ("raise", "error", "ValueError: a mistake in the plugin", 2),
        ("sys-exit", "error", "SystemExit: 3", None),
        (
            "no-state",
            "error",
            "TypeError: `fit` gave a NoneType; it must be a dict with modules, steps, curves, stability, resources",
            None,
        ),
        ("half-state", "error", "TypeError: `fit` gave a dict without curves, stability, resources", None),
        ("no-scores", "error", "TypeError: `evaluate` gave a dict; it must be bench.protocol.Scores", 4),
        (
            "objects",
            "error",
            "TypeError: the array 'samples' that `evaluate` gave holds Python objects, not numbers or text",
            4,
        ),
    ],
)
def test_whatever_goes_wrong_is_recorded_in_one_line(
    carry_out: CarryOut, how: str, status: str, reason: str, last_step: int | None
) -> None:
    ending, record = carry_out(how)
    assert (ending.status, ending.reason) == (status, reason)
    assert (record.status, record.reason, record.last_step) == (status, reason, last_step)
    assert record.scores == []
    assert record.resources["overhead_seconds"] >= 0


def test_a_diverged_cell_is_data(carry_out: CarryOut, store: Store, look: Look) -> None:
    _, record = carry_out("diverge")
    assert record.stability == {"gradient_max_prior": 1e9}
    found = look("diverge").standings[0]
    curves = store.beside(record, found.key, "curves")
    assert curves
    assert json.loads(curves) == [{"epoch": 0, "step": 2, "metric": "bound", "value": 9.0}]


def test_a_traceback_goes_to_the_log(carry_out: CarryOut, capsys: pytest.CaptureFixture[str]) -> None:
    carry_out("raise")
    assert "ValueError: a mistake\nin the plugin" in capsys.readouterr().err


def test_a_score_that_is_no_number_is_unreliable(carry_out: CarryOut) -> None:
    _, record = carry_out("nan")
    assert record.status == "ok"
    assert record.scores[0].unreliable == "not a finite number"


def test_no_cell_sees_what_another_wrote_into_the_data(look: Look, setup: Setup, store: Store) -> None:
    worker = Worker(setup)
    values = []
    for job in look("write", "ok").jobs():
        worker.carry_out(job)
        record = store.record(job.cell.id, job.key)
        assert record
        values.append(record.scores[0].value)
    assert values == [3.0, 2.0]


def test_a_cell_has_the_data_of_its_own_options_and_may_write_into_every_split(setup: Setup) -> None:
    digits: Any = setup.registry.find("dataset", "digits").load()
    worker = Worker(setup)
    for kept in (0, 9, 0):
        splits = worker.splits(digits(validation=kept))
        assert (len(splits.train), len(splits.validation)) == (1500 - kept, kept)
        again = worker.splits(digits(validation=kept))
        for name in ("train", "validation", "test"):
            getattr(splits, name)[:] = 99
            assert not (getattr(again, name) == 99).any(), name
            assert not (getattr(worker.splits(digits(validation=kept)), name) == 99).any(), name


def test_a_stopped_cell_leaves_no_record_and_goes_on_from_its_checkpoint(
    look: Look, setup: Setup, store: Store
) -> None:
    job = look("long").jobs()[0]
    asked = iter([False] * 10)
    ending = Worker(setup).carry_out(job, stop_requested=lambda: next(asked, True))
    assert (ending.status, ending.reason) == ("stopped", "at step 11")  # type: ignore[union-attr]
    assert store.records() == []
    assert isinstance(Worker(setup).carry_out(job), Ending)
    assert store.records()[0].stability == {"resumed_at": 11.0}


@pytest.mark.parametrize("code", ["plugin", "fit"])
def test_a_checkpoint_of_other_code_is_not_resumed(look: Look, setup: Setup, store: Store, code: str) -> None:
    job = look("long").jobs()[0]
    other = replace(job.fingerprints, **{code: "0" * 64})
    folder = store.cell(job.cell.id) / replace(job, fingerprints=other).workspace
    folder.mkdir(parents=True)
    (folder / "step").write_text("50")
    Worker(setup).carry_out(job)
    assert store.records()[0].stability == {"resumed_at": 0.0}


def test_progress_is_told_seldom(look: Look, setup: Setup) -> None:
    told: list[Figures | Note] = []
    ending = Worker(setup).carry_out(look("long", seconds=0.6).jobs()[0], told.append)
    assert isinstance(ending, Ending)
    assert 2 <= len(told) <= 1 + ending.seconds / INTERVAL  # of 100 reports
    assert told[0] == Figures("fit", 1, 100, {"bound": 1.0})


def test_code_that_changed_since_the_sweep_began_is_not_run(look: Look, setup: Setup, store: Store) -> None:
    job = look("ok").jobs()[0]
    job = replace(job, fingerprints=replace(job.fingerprints, plugin="0" * 64))
    answer = Worker(setup).carry_out(job)
    assert isinstance(answer, Halt)
    assert answer.sentence == (
        "the code of strategy 'actor', data set 'points' or of what they use changed while the sweep was running; "
        "run the same command again"
    )
    assert store.records() == []


def test_code_that_changes_between_two_cells_of_a_worker_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(FAKES, tmp_path / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    registry = Registry([tmp_path / "plugins"])
    source = {"seeds": 2, "dataset": [{"name": "points"}], "networks": {"latent": 2}, "strategy": [{"name": "actor"}]}
    grid = grids.expand(source, registry, name="fakes", where="fakes.toml")
    first, second = survey(grid, store, registry).jobs()
    worker = Worker(Setup("fakes", store.folder, registry, tmp_path, "cpu", {}))
    assert worker.carry_out(first).status == "ok"  # type: ignore[union-attr]
    file = tmp_path / "plugins" / "strategies" / "actor.py"
    before = file.read_text()
    file.write_text(before.replace("value = float(", "value = 7.0 + float("))
    assert isinstance(worker.carry_out(second), Halt)
    file.write_text(before + "\n# a comment\n")
    assert worker.carry_out(second).status == "ok"  # type: ignore[union-attr]


def test_a_record_that_cannot_be_written_is_told(look: Look, setup: Setup) -> None:
    answer = Worker(setup).carry_out(look("no-store").jobs()[0])
    assert isinstance(answer, Halt)
    assert answer.sentence.startswith(f"the run store {setup.store} cannot be written (Not a directory: ")


def test_data_that_cannot_be_had_is_an_error_with_its_sentence(
    look: Look, setup: Setup, store: Store, tmp_path: Path
) -> None:
    job = look("ok").jobs()[0]
    job = replace(job, cell=replace(job.cell, options={"gone": True}))
    ending = Worker(setup).carry_out(job)
    assert isinstance(ending, Ending)
    assert (ending.status, ending.reason) == ("error", f"the points are not in {tmp_path}; put them there")
