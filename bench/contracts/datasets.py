"""The contracts of a data set, in the order in which they are looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from bench import priors
from bench.contracts import fields
from bench.contracts.processes import Killed, apart
from bench.contracts.task import LATENT, SMALL, scramble
from bench.contracts.verdicts import Breach, Contract
from bench.data import split
from bench.plugins import Plugin, build
from bench.protocol import Ais, AisNll, Budget, Dataset, Evaluation, Networks, Noise, Run, Splits, Task
from bench.strategy import Strategy
from bench.streams import stream
from bench.vae import VAE

LIMIT = 600.0  # seconds to load a data set
ITEMS = 64


class Baseline(Strategy):
    """A VAE with the prior N(0, I)."""

    def prior(self, task: Task, vae: VAE, noise: Noise) -> priors.Density:
        """Return N(0, I)."""
        return priors.StandardNormal(task.networks.latent)


@dataclass(frozen=True)
class Subject:
    """A data set that is checked.

    Attributes:
        plugin, values: the data set and its options, where they are not the defaults.
        data: the folder of data sets.
        folder: for checkpoints; it is empty.
    """

    plugin: Plugin
    values: Mapping[str, Any]
    data: Path
    folder: Path

    @cached_property
    def dataset(self) -> Dataset:
        """The data set itself."""
        return cast(Dataset, build(self.plugin, self.values, "check"))

    @cached_property
    def splits(self) -> Splits:
        """What it loads."""
        scramble(1)
        return self.dataset.load(self.data)

    @property
    def features(self) -> int:
        """Numbers in an item."""
        return int(self.splits.train[0].size)

    def items(self) -> Tensor:
        """Return a copy of some training items."""
        return torch.from_numpy(self.splits.train[:ITEMS].copy())


def check_declarations(subject: Subject) -> str:
    """Version, likelihood and unit are given, and known; networks are refused in words or not at all."""
    dataset = subject.dataset
    allowed = {"likelihood": ("bernoulli", "gaussian", "laplace"), "unit": ("nats", "bits/dim")}
    for name, choices in allowed.items():
        value = getattr(dataset, name, None)
        if value not in choices:
            raise Breach(f"{name} is {value!r}; it must be one of {', '.join(choices)}")
    version = getattr(dataset, "version", None)
    if not (isinstance(version, str) and version):
        raise Breach(f'version is {version!r}; it must be text, such as "1"')
    refusal = dataset.refuses(Networks(encoder=SMALL, decoder=SMALL, latent=LATENT))
    if not (refusal is None or (isinstance(refusal, str) and refusal)):
        raise Breach(f"refuses gives {refusal!r}; it must give why networks cannot do these items, in words, or None")
    return f"version {dataset.version}, {dataset.likelihood}, {dataset.unit}"


def check_splits(subject: Subject) -> str:
    """The splits are arrays of uint8 or float32 whose first axis is the item, of one kind of item."""
    splits = subject.splits
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    for name, array in parts.items():
        if not isinstance(array, np.ndarray):
            raise Breach(f"{name} is a {type(array).__name__}, not a numpy array")
        if array.dtype not in (np.uint8, np.float32):
            raise Breach(f"{name} holds {array.dtype}; it must be uint8 (images) or float32 (points)")
        if array.ndim < 2 or array[:0].size != 0 or array.shape[1:] != splits.train.shape[1:]:
            raise Breach(f"{name} has the shape {array.shape}; it must be (N, ...) with items like those of train")
        if array.dtype != splits.train.dtype:
            raise Breach(f"{name} holds {array.dtype}, and train {splits.train.dtype}")
        if array.dtype == np.float32 and not np.isfinite(array).all():
            raise Breach(f"{name} holds numbers that are not finite")
    if len(splits.train) < 1 or len(splits.test) < 2:
        raise Breach(
            f"{len(splits.train)} items to train on and {len(splits.test)} to test on are too few; 1 and 2 will do"
        )
    sizes = ", ".join(f"{len(array):,} {name}" for name, array in parts.items() if len(array))
    return f"{sizes}, {splits.train.dtype} {'x'.join(map(str, splits.train.shape[1:]))}"


def check_digest(subject: Subject) -> str:
    """The digest is that of the arrays, and another process loads the same."""
    splits = subject.splits
    right = split(np.concatenate([splits.train, splits.validation]), splits.test, len(splits.validation)).sha256
    if splits.sha256 != right:
        raise Breach("sha256 is not the digest of its arrays; return what bench.data.split gives")
    try:
        found = apart(_digest, subject.plugin, subject.values, subject.data, file=subject.plugin.file, limit=LIMIT)
    except Killed:
        raise Breach("the process that loaded it was killed (kill -9), perhaps because memory ran out") from None
    if found != splits.sha256:
        raise Breach("its arrays differ from one process to the next; draw them from a generator with its own seed")
    return f"SHA-256 {splits.sha256[:12]}..., the same in two processes"


def _digest(plugin: Plugin, values: Mapping[str, Any], data: Path) -> str:
    return cast(Dataset, build(plugin, values, "check")).load(data).sha256


def check_prepare(subject: Subject) -> str:
    """`prepare` gives (B, D) numbers that the likelihood scores, and draws from its noise alone."""
    x = subject.items()
    stored = x.clone()
    prepared = _prepared(subject, "prepare", lambda items: subject.dataset.prepare(items, stream(0, "check")), x)
    if not torch.equal(x, stored):
        raise Breach("prepare writes into the items that it is given")
    if len(subject.dataset.prepare(x[:1], stream(0, "check"))) != 1:
        raise Breach("prepare does not take a single item")
    return f"({len(x)}, {prepared.shape[1]}) float32 from {len(x)} items"


def check_fixed(subject: Subject) -> str:
    """`fixed` gives the same bits at any time: no seed, no global generator enters."""
    test = torch.from_numpy(subject.splits.test[:ITEMS].copy())
    stored = test.clone()
    fixed = _prepared(subject, "fixed", subject.dataset.fixed, test)
    if not torch.equal(test, stored):
        raise Breach("fixed writes into the items that it is given")
    return f"({len(test)}, {fixed.shape[1]}) float32, the same bits twice"


def _prepared(subject: Subject, name: str, prepare: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return prepared items after checking them; `prepare` is called twice with other global generators."""
    scramble(2)
    first = prepare(x)
    scramble(3)
    second = prepare(x)
    if not isinstance(first, Tensor) or first.shape != (len(x), subject.features) or first.dtype != torch.float32:
        found = f"{first.dtype} {tuple(first.shape)}" if isinstance(first, Tensor) else type(first).__name__
        rule = f"it must give float32 ({len(x)}, {subject.features})"
        raise Breach(f"{name} gives {found.removeprefix('torch.')} for items of {subject.features} numbers; {rule}")
    if not bool(first.isfinite().all()):
        raise Breach(f"{name} gives numbers that are not finite")
    if subject.dataset.likelihood == "bernoulli" and not bool(((first == 0) | (first == 1)).all()):
        raise Breach(f"{name} gives numbers other than 0 and 1, which a Bernoulli likelihood does not score")
    if not torch.equal(first, second):
        rule = (
            "draw from the noise that is handed over" if name == "prepare" else "draw from noise with a seed of its own"
        )
        raise Breach(f"{name} gives other numbers when it is called again; {rule}, and from no other generator")
    return first


def check_training(subject: Subject) -> str:
    """A tiny VAE trains on it and is scored."""
    splits = subject.splits
    few = replace(splits, train=splits.train[:ITEMS].copy(), test=splits.test[:16].copy())
    task = Task(
        subject.dataset,
        few,
        Networks(encoder=SMALL, decoder=SMALL, latent=LATENT),
        Budget(epochs=2, batch_size=max(1, len(few.train) // 2)),
        Evaluation(
            vlb_samples=2,
            importance_samples=4,
            ais=Ais(temperatures=10, chains=4),
            ais_nll=AisNll(images=4, simulated=4, temperatures=4, chains=2),
        ),
    )
    run, baseline = Run(0, "cpu", subject.folder), Baseline()
    scores = baseline.evaluate(baseline.fit(task, run), task, run)
    return f"a tiny VAE trains on it, NLL {next(s.value for s in scores.scores if s.metric.name == 'nll'):.4g} nats"


CONTRACTS = (
    Contract[Subject]("options", lambda subject: fields.check(subject.plugin, subject.values)),
    Contract("declarations", check_declarations),
    Contract("splits", check_splits),
    Contract("digest", check_digest, ("splits",)),
    Contract("prepare", check_prepare, ("declarations", "splits")),
    Contract("fixed", check_fixed, ("declarations", "splits")),
    Contract("training", check_training, ("prepare", "fixed")),
)
