"""The contracts of a data set, in the order in which they are looked at."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, cast, get_args

import numpy as np
import torch
from torch import Tensor

from bench import demands, priors
from bench.contracts import fields, likelihoods, preparation, replays
from bench.contracts.attempts import apart
from bench.contracts.task import NETWORKS, scramble, tiny
from bench.contracts.verdicts import Breach, Contract, NotChecked
from bench.contracts.verdicts import Subject as Base
from bench.data import flaws, split
from bench.protocol import Dataset, LikelihoodName, Noise, Pixels, Run, Splits, Task, Unit, UserError
from bench.strategy import Strategy
from bench.streams import stream
from bench.vae import VAE
from bench.vae.likelihoods import likelihood

ITEMS = 64


class Baseline(Strategy):
    """A VAE with the prior N(0, I)."""

    capturable: ClassVar = True

    def prior(self, task: Task, vae: VAE, noise: Noise) -> priors.Density:
        """Return N(0, I)."""
        return priors.StandardNormal(task.networks.latent)


@dataclass(frozen=True)
class Subject(Base):
    """A data set that is checked."""

    @cached_property
    def dataset(self) -> Dataset:
        """The data set itself."""
        return cast(Dataset, self.build())

    @cached_property
    def splits(self) -> Splits:
        """What it loads."""
        scramble(1)
        return self.dataset.load(self.data)


def check_declarations(subject: Subject) -> str:
    """Version, likelihood and unit are given, and known; networks are refused in words, what it holds is declared."""
    dataset = subject.dataset
    for name, choices in {"likelihood": get_args(LikelihoodName), "unit": get_args(Unit)}.items():
        value = getattr(dataset, name, None)
        if value not in choices and not (name == "likelihood" and callable(value)):
            own = ", or a class that extends bench.vae.Likelihood" * (name == "likelihood")
            raise Breach(f"{name} is {value!r}; it must be one of {', '.join(choices)}{own}")
    version = getattr(dataset, "version", None)
    if not (isinstance(version, str) and version):
        raise Breach(f'version is {version!r}; it must be text, such as "1"')
    refusal = dataset.refuses(NETWORKS)
    if not (refusal is None or (isinstance(refusal, str) and refusal)):
        raise Breach(f"refuses gives {refusal!r}; it must give why networks cannot do these items, in words, or None")
    if reason := demands.without_bits(dataset):
        raise Breach(reason)
    demands.declared(dataset)
    return f"version {dataset.version}, {type(likelihood(dataset.likelihood)).__name__}, {dataset.unit}"


def check_likelihood(subject: Subject) -> str:
    """A likelihood of its own gives the shapes that it must, is a density, and that of its samples and its reader."""
    if isinstance(subject.dataset.likelihood, str):
        raise NotChecked("it has one of bench's own")
    own = likelihood(subject.dataset.likelihood)
    return likelihoods.check(own, subject.dataset.prepare(_first(subject.splits.train), stream(0, "check")))


def _first(split: np.ndarray) -> Tensor:
    """Return a copy of the first stored items."""
    return torch.from_numpy(split[:ITEMS].copy())


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
    if min(len(splits.train), len(splits.test)) < demands.FEWEST:
        sizes = f"{len(splits.train)} items to train on and {len(splits.test)} to test on"
        raise Breach(f"{sizes} are too few; {demands.FEWEST} of each will do")
    said = demands.declared(subject.dataset)
    if said is not None and said != splits.items:
        raise Breach(f"holds says {said}, and load gives {splits.items}")
    sizes = ", ".join(f"{len(array):,} {name}" for name, array in parts.items() if len(array))
    return f"{sizes}, {splits.train.dtype} {'x'.join(map(str, splits.train.shape[1:]))}"


def check_digest(subject: Subject) -> str:
    """The digest is that of the arrays, and another process loads the same."""
    splits = subject.splits
    right = split(np.concatenate([splits.train, splits.validation]), splits.test, len(splits.validation)).sha256
    if splits.sha256 != right:
        raise Breach("sha256 is not the digest of its arrays; return what bench.data.split gives")
    other = apart(_digest, replace(subject), file=subject.plugin.file, limit=subject.limit)
    if other != splits.sha256:
        raise Breach("its arrays differ from one process to the next; draw them from a generator with its own seed")
    return f"SHA-256 {splits.sha256[:12]}..., the same in two processes"


def _digest(subject: Subject) -> str:
    return subject.dataset.load(subject.data).sha256


def check_validation(subject: Subject) -> str:
    """The option `validation` keeps so many items from training: each item is in one split, and the test stays."""
    values, number = dict(subject.values), demands.FEWEST
    try:
        both = [subject.build(values | {"validation": n}) for n in (0, number)]
    except UserError:
        raise NotChecked(f"it has no option `validation` that may be 0 or {number}") from None
    whole, parted = (dataset.load(subject.data) for dataset in both)
    if len(parted.validation) != number:
        raise Breach(f"validation = {number} keeps {len(parted.validation)} items from training")
    if not np.array_equal(parted.test, whole.test):
        raise Breach(f"validation = {number} changes the test split")
    if _items(whole) != _items(parted):
        raise Breach(f"with validation = {number}, both splits together are not what train holds with validation = 0")
    return f"validation = {number} keeps {number} items from training, and leaves the others"


def _items(splits: Splits) -> list[bytes]:
    """Return all items but those of the test, in an order of their own."""
    return sorted(item.tobytes() for array in (splits.train, splits.validation) for item in array)


def check_values(subject: Subject) -> str:
    """The numbers are on the scale that it takes them for, finite, not (almost) all equal; the test holds new items."""
    dataset, splits = subject.dataset, subject.splits
    flaw = getattr(dataset, "flaw", None)
    reason = flaw(splits) if callable(flaw) else flaws.sameness(splits, dataset.prepare)
    if reason is not None:
        raise Breach(reason)
    chosen = np.linspace(0, len(splits.train) - 1, min(len(splits.train), flaws.LOOKED)).astype(int)
    x = dataset.prepare(torch.from_numpy(splits.train[chosen]), stream(0, "check"))
    stored = f"stored {splits.train.min():g} .. {splits.train.max():g}"
    prepared = f"prepared {float(x.min()):.3g} .. {float(x.max()):.3g} with mean {float(x.mean()):.3g}"
    if isinstance(dataset, Pixels):
        prepared = f"{prepared}, brightness {float(dataset.brightness(x).mean()):.3g}"
    return f"{stored}, {prepared}; {_repeated(splits)}"


def _repeated(splits: Splits) -> str:
    """Return how many test items are training items, bit by bit.

    Where there are few different items, they repeat in any split. A test item that is drawn as the others are is no
    less likely to be in train than one of train is to have a twin there.

    Raises:
        Breach: most of them are, and most of train's have no twin in train.
    """
    train = Counter(_digests(splits.train))
    seen = sum(item in train for item in _digests(splits.test))
    twins = sum(number for number in train.values() if number > 1)
    words = f"{seen:,} of {len(splits.test):,} test items are in train"
    if seen > len(splits.test) / 2 and twins <= len(splits.train) / 2:
        raise Breach(f"{words}, where {twins:,} of {len(splits.train):,} repeat; a test item may be no training item")
    return words


def _digests(split: np.ndarray) -> list[bytes]:
    return [hashlib.blake2b(item.tobytes(), digest_size=16).digest() for item in split]


def check_prepare(subject: Subject) -> str:
    """`prepare` gives (B, D) numbers that the likelihood scores, each item's its own, drawn from its noise alone."""

    def prepare(x: Tensor) -> Tensor:
        return subject.dataset.prepare(x, stream(0, "check"))

    seen = _prepared(subject, "prepare", prepare, subject.splits.train, "the noise that is handed over")
    if len(prepare(torch.from_numpy(subject.splits.train[:1].copy()))) != 1:
        raise Breach("prepare does not take a single item")
    stored = _first(subject.splits.train)
    preparation.check_items(subject.dataset, stored)
    return seen + preparation.check_jacobian(subject.dataset, stored)


def check_fixed(subject: Subject) -> str:
    """`fixed` gives the same bits at any time: no seed, no global generator enters."""
    fixed, test = subject.dataset.fixed, subject.splits.test
    return f"{_prepared(subject, 'fixed', fixed, test, 'noise with a seed of its own')}, the same bits twice"


def _prepared(subject: Subject, name: str, prepare: Callable[[Tensor], Tensor], split: np.ndarray, noise: str) -> str:
    """Check what a way of preparing makes of items; it is called twice with other global generators.

    Args:
        subject: the data set.
        name: of the way.
        prepare: the way.
        split: the first items of it are prepared.
        noise: what it should draw from.
    """
    stored = _first(split)
    x, features = stored.clone(), stored[0].numel()
    scramble(2)
    first = prepare(x)
    scramble(3)
    second = prepare(x)
    if not isinstance(first, Tensor) or first.shape != (len(x), features) or first.dtype != torch.float32:
        kind = f"{first.dtype} {tuple(first.shape)}" if isinstance(first, Tensor) else type(first).__name__
        rule = f"it must give float32 ({len(x)}, {features})"
        raise Breach(f"{name} gives {kind.removeprefix('torch.')} for items of {features} numbers; {rule}")
    if not bool(first.isfinite().all()):
        raise Breach(f"{name} gives numbers that are not finite")
    scores = likelihood(subject.dataset.likelihood)
    if scores.bounds is not None:
        low, high = scores.bounds
        rule = f"which a {type(scores).__name__} likelihood does not score"
        if scores.binary and not bool(((first == low) | (first == high)).all()):
            raise Breach(f"{name} gives numbers other than {low:g} and {high:g}, {rule}")
        if not bool(((first >= low) & (first <= high)).all()):
            raise Breach(f"{name} gives numbers outside of {low:g} .. {high:g}, {rule}")
    if not torch.equal(first, second):
        rule = f"draw from {noise}, and from no other generator"
        raise Breach(f"{name} gives other numbers when it is called again; {rule}")
    if not torch.equal(x, stored):
        raise Breach(f"{name} writes into the items that it is given")
    return f"({len(x)}, {features}) float32 from {len(x)} items"


def check_training(subject: Subject) -> str:
    """A tiny VAE trains on it and is scored."""
    task = _task(subject)
    run, baseline = Run(0, "cpu", subject.folder), Baseline()
    scores = baseline.evaluate(baseline.fit(task, run), task, run)
    return f"a tiny VAE trains on it, NLL {next(s.value for s in scores.scores if s.metric.name == 'nll'):.4g} nats"


def _task(subject: Subject) -> Task:
    splits = subject.splits
    few = replace(splits, train=splits.train[:ITEMS].copy(), test=splits.test[:16].copy())
    return tiny(subject.dataset, few, batch=max(1, len(few.train) // 2), simulated=4)


def check_capture(subject: Subject) -> str:
    """Steps on it that are captured once and replayed give the bits of eager ones, where it says that they can be."""
    return replays.check(subject.dataset, Baseline(), _task(subject), subject.folder / "capture")


CONTRACTS = (
    Contract[Subject]("options", fields.check),
    Contract("declarations", check_declarations),
    Contract("splits", check_splits),
    Contract("digest", check_digest, ("splits",)),
    Contract("validation", check_validation, ("digest",)),
    Contract("prepare", check_prepare, ("declarations", "splits")),
    Contract("values", check_values, ("prepare",)),
    Contract("fixed", check_fixed, ("declarations", "splits")),
    Contract("likelihood", check_likelihood, ("declarations", "prepare")),
    Contract("training", check_training, ("prepare", "fixed")),
    Contract("capture", check_capture, ("training",)),
)
