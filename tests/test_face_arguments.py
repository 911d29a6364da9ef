"""What the face takes for numbers, lists, data sets and devices, and what it says of anything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import bench
from bench.face.values import MOST, plain
from bench.protocol import UserError
from tests.test_face import QUICK

FACE: Any = bench  # as a caller without types sees it
VALIDATED = {"dataset.digits.validation": 300}
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_STORE", raising=False)


# ---------------------------------------------------------------- lists and numbers of other libraries


@pytest.mark.parametrize(
    "values",
    [
        np.array([2, 3]),
        np.array([2, 3], np.uint8),
        np.array([2, 3], object),
        pd.Series([2, 3]),
        pd.Index([2, 3]),
        torch.tensor([2, 3]),
        range(2, 4),
        (2, np.int64(3)),
        [np.array(2), 3],
        {3, 2},
        {2: "a", 3: "b"}.keys(),
        (value for value in (2, 3)),
    ],
    ids=lambda values: type(values).__name__,
)
def test_whatever_holds_values_is_the_list_of_them(values: Any) -> None:
    grid = bench.grid("digits", strategies=["vampprior"], seeds=1, set={"strategy.vampprior.components": values})
    assert [cell.hyper["components"] for cell in grid.cells] == [2, 3]


def test_arrays_may_stand_in_the_tables_of_a_grid_and_in_lists() -> None:
    rates = np.logspace(-4, -2, 3)
    grid = bench.grid("digits", strategies=["stein"], seeds=1, set={"strategy.stein.lr": rates})
    assert [cell.hyper["lr"] for cell in grid.cells] == rates.tolist()
    hidden = [np.array([8, 8]), pd.Series([16])]  # a list of lists sweeps over widths
    grid = bench.grid("digits", strategies=["normal"], seeds=1, set={"networks.encoder.hidden": hidden})
    assert [cell.networks["encoder"]["hidden"] for cell in grid.cells] == [[8, 8], [16]]
    with pytest.raises(UserError, match=rf"^a list holds more than {MOST:,} values"):
        bench.grid("digits", set={"strategy.stein.lr": range(10**9)})


def test_numbers_of_numpy_that_python_has_not_stay_as_they_are() -> None:
    assert plain({"a": np.float32(0.5), 1: np.array(True)}) == {"a": 0.5, "1": True}
    assert isinstance(plain(np.longdouble(1)), np.longdouble)
    assert plain(np.ndarray) is np.ndarray


@pytest.mark.parametrize(
    "seeds",
    [2, np.int64(2), np.array(2), np.arange(2), pd.Series([0, 1]), pd.Index([0, 1]), {1, 0}, range(2), iter((0, 1))],
    ids=lambda seeds: type(seeds).__name__,
)
def test_seeds_are_a_count_or_any_list(seeds: Any) -> None:
    assert [cell.seed for cell in FACE.grid("digits", strategies=["normal"], seeds=seeds).cells] == [0, 1]


def test_a_number_of_numpy_counts_as_one(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (60, 4, 4)).astype(np.uint8)
    own = FACE.dataset("arrays", train=x[:40], test=x[40:], validation=np.int64(10))
    assert len(own.splits().validation) == 10
    ran = FACE.run(
        "digits",
        strategies=("normal" for _ in range(1)),
        seeds=np.arange(1),
        datasets=(entry for entry in [own]),
        set={**QUICK, "train.batch_size": np.int64(10), "evaluate.images": 20},
        jobs=np.int64(1),
        per_gpu=np.int32(1),
        timeout=np.float32(5),
        retries=np.int64(1),
        store=tmp_path / "store",
        progress=False,
    )
    assert ran.cell("normal").record.status == "ok", ran.cell("normal").record.reason
    again = FACE.run(  # one alone is a list of one
        "digits",
        strategies=["normal"],
        seeds=1,
        datasets=own,
        set={**QUICK, "train.batch_size": 10, "evaluate.images": 20},
        store=tmp_path / "store",
        progress=False,
    )
    assert again.cell("normal").record.started == ran.cell("normal").record.started


def test_tuning_takes_numbers_of_numpy_and_any_list_of_data_sets(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (60, 4, 4)).astype(np.uint8)
    own = FACE.dataset("arrays", train=x[:40], test=x[40:], validation=10)
    tuned = FACE.tune(
        "digits",
        trials=np.int64(1),
        strategies=["normal"],
        datasets=(entry for entry in [own]),
        set={"train.epochs": 1, "train.batch_size": 10},
        jobs=np.int64(1),
        store=tmp_path / "store",
        progress=False,
    )
    assert tuned.trials()["state"].tolist() == ["complete"]


# ---------------------------------------------------------------- what is refused

NORMAL = {"strategies": ["normal"], "seeds": 1}
ONE = "must be a whole number, at least 1"
TRUTH = "must be True or False"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: FACE.run(jobs="2"), f"jobs='2' is not allowed; it {ONE}"),
        (lambda: FACE.run(jobs=True), f"jobs=True is not allowed; it {ONE}"),
        (lambda: FACE.run(jobs=np.True_), f"jobs=.*True.* is not allowed; it {ONE}"),
        (lambda: FACE.run(per_gpu="all"), f"per_gpu='all' is not allowed; it {ONE}, or \"auto\""),
        (lambda: FACE.run(trust="no"), f"trust='no' is not allowed; it {TRUTH}"),
        (lambda: FACE.run(stale=None), f"stale=None is not allowed; it {TRUTH}"),
        (lambda: FACE.run(retry_failed=1), f"retry_failed=1 is not allowed; it {TRUTH}"),
        (lambda: FACE.run(progress="no"), f"progress='no' is not allowed; it {TRUTH}"),
        (lambda: FACE.run(set=0), "set=0 is not allowed; it must be a dict such as"),
        (lambda: FACE.run(seeds={"a": 1}), "seeds={'a': 1} is not allowed; it must be a whole number or a list"),
        (lambda: FACE.run(seeds=True), "seeds: seeds = true is not allowed; it must be a count"),
        (lambda: FACE.run(seeds=np.array([0.5])), r"seeds: seeds = \[0.5\] is not allowed; it must be a count"),
        (lambda: FACE.run(datasets=np.array(3)), r"datasets=array\(3\) is not allowed; it must be a list of data"),
        (lambda: FACE.run(data_dir=""), "data_dir is empty"),
        (lambda: FACE.run(strategies=[]), "strategies holds nothing, so that there is nothing to do; leave it out for"),
        (lambda: FACE.run(datasets=[name for name in ("digits",) if name > "x"]), "datasets holds nothing, so that"),
        (lambda: FACE.grid(strategies=set()), "strategies holds nothing"),
        (lambda: FACE.tune(trials=1, set=VALIDATED, strategies=[]), "strategies holds nothing"),
        (lambda: FACE.tune(trials=1, set=VALIDATED, jobs="2"), f"jobs='2' is not allowed; it {ONE}"),
        (lambda: FACE.tune(trials=1, set=VALIDATED, jobs=0), f"jobs=0 is not allowed; it {ONE}"),
        (lambda: FACE.tune(trials=1, set=VALIDATED, jobs=-1), f"jobs=-1 is not allowed; it {ONE}"),
        (lambda: FACE.tune(trials=1, set=VALIDATED, jobs=1.5), f"jobs=1.5 is not allowed; it {ONE}"),
        (lambda: FACE.tune(trials="1", set=VALIDATED), f"trials='1' is not allowed; it {ONE}"),
        (lambda: FACE.tune(budget=[1], set=VALIDATED), r"budget=\[1\] is not allowed; it must be seconds, or a time"),
        (lambda: FACE.tune(budget=True, set=VALIDATED), "budget=True is not allowed; it must be seconds, or a time"),
        (lambda: FACE.tune(trials=1, metric=None), "metric=None is not allowed; it must be text"),
        (lambda: FACE.tune(trials=1, metric=5), "metric=5 is not allowed; it must be text"),
        (lambda: FACE.tune(trials=1, storage=5), "storage=5 is not allowed; it must be text"),
        (lambda: FACE.tune(trials=1, set=VALIDATED, pruner=["none"]), r"pruner=\['none'\] is unknown; allowed: median"),
        (lambda: FACE.tune(trials=1, trust="no"), f"trust='no' is not allowed; it {TRUTH}"),
        (lambda: FACE.dataset("arrays", train=0, test=0, validation="1"), "validation='1' is not allowed; it must be"),
        (lambda: FACE.dataset("arrays", train=0, test=0, likelihood=[]), r"likelihood=\[\] is not allowed; it must be"),
        (lambda: FACE.results("x", all_settings="yes"), f"all_settings='yes' is not allowed; it {TRUTH}"),
        (lambda: FACE.export_store("a", "a.zip", models="no"), f"models='no' is not allowed; it {TRUTH}"),
        (lambda: FACE.import_store("a.zip", ""), "the run store is empty; give the path"),
        (lambda: FACE.strategy("normal").train(3), "the data set is 3; it must be a name or a file"),
        (lambda: FACE.strategy("normal").train("digts"), 'unknown data set "digts"; did you mean "digits"'),
        (lambda: FACE.strategy("normal").train("digits", seed="x"), "seed='x' is not allowed; it must be a whole num"),
        (lambda: FACE.strategy("normal").train("digits", seed=-1), "seed=-1 is not allowed; .*, at least 0"),
        (lambda: FACE.strategy("normal").train("digits", networks=5), "networks=5 is not allowed; it must be a dict"),
        (lambda: FACE.strategy("normal").train("digits", evaluate=5), "evaluate=5 is not allowed; it must be a dict"),
        (
            lambda: FACE.strategy("normal").train("digits", progress=True),
            "progress=True is not allowed; it must be a f",
        ),
        (lambda: FACE.strategy("normal").train("digits", device="gpu"), "device='gpu' is unknown; allowed: cpu, cuda"),
    ],
)
def test_what_is_of_another_kind_is_one_sentence(call: Callable[[], Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{sentence}"):
        call()
    assert not list(tmp_path.glob("runs/*/cells/*"))


@NO_GPU
def test_a_device_that_is_not_there_is_one_sentence() -> None:
    for device in ("cuda", torch.device("cuda")):
        with pytest.raises(UserError, match=r"^device='cuda' is not there: torch sees 0 cuda devices on this machine$"):
            FACE.strategy("normal").train("digits", device=device)


def test_a_device_that_is_no_name_is_one_sentence() -> None:
    for device in (None, 3, np.array(["cpu", "cuda"])):
        with pytest.raises(UserError, match=r"^device=.* is unknown; allowed: cpu, cuda, cuda:N, mps$"):
            FACE.strategy("normal").train("digits", device=device)


def test_a_data_set_may_be_named_where_one_model_is_trained() -> None:
    how = {"epochs": 1, "evaluate": {"images": 20, "importance_samples": 5, "ais_nll": {"images": 0, "simulated": 0}}}
    trained = FACE.strategy("normal").train("digits", seed=np.int64(0), device=torch.device("cpu"), **how)
    assert trained.model.sample(2).shape == (2, 8, 8)
