"""The contracts of a network, in the order in which they are looked at."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts import fields, replays
from bench.contracts.datasets import Baseline
from bench.contracts.task import LATENT, scramble, tiny
from bench.contracts.verdicts import Breach, Contract
from bench.contracts.verdicts import Subject as Base
from bench.data import Dataset, split
from bench.protocol import AisNll, Likelihood, Network, Networks, Noise, Run, Splits, Task, Unit
from bench.streams import seed_globals, stream

SHAPES = ((2,), (8, 8), (3, 8, 8), (28, 28), (3, 32, 32))  # of items, as data sets have them
LEADING: tuple[tuple[int, ...], ...] = ((), (7,), (2, 7))  # of what a module takes
TOGETHER: tuple[tuple[int, ...], ...] = ((5,), (2, 3))  # items, and samples of items
FEATURES = 6  # of an encoder's outputs and a decoder's inputs
ITEMS = 16  # that a tiny VAE trains on
CLOSE = 1e-4  # relative; float32 adds in another order where more items are computed at a time

Module = tuple[str, Callable[[], nn.Module], int, int]  # its words, what builds it, its inputs and outputs


class Items(Dataset):
    """Normal points of some shape."""

    name: ClassVar[str] = "items"
    capturable: ClassVar[bool] = True
    version: ClassVar[str] = "1"
    likelihood: ClassVar[Likelihood] = "gaussian"
    unit: ClassVar[Unit] = "nats"

    shape: list[int]

    def load(self, folder: Path) -> Splits:
        """Return float32 items of the shape; `folder` is not used."""
        items = np.random.default_rng(0).normal(size=(ITEMS + 16, *self.shape)).astype(np.float32)
        return split(items[:ITEMS], items[ITEMS:])

    def prepare(self, x: Tensor, noise: Noise) -> Tensor:
        """Return the items, flat."""
        return x.flatten(1)


@dataclass(frozen=True)
class Subject(Base):
    """A network that is checked."""

    @cached_property
    def network(self) -> Network:
        """The network itself."""
        return cast(Network, self.build())

    @cached_property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes of items that it does not refuse."""
        return [shape for shape in SHAPES if self.network.refuses(shape) is None]

    def modules(self) -> Iterator[Module]:
        """Give an encoder and a decoder for every shape that it takes."""
        for shape in self.shapes:
            size, items = math.prod(shape), f"items of {'x'.join(map(str, shape))}"
            yield f"its encoder of {items}", _encoder(self.network, shape), size, FEATURES
            yield f"its decoder to {items}", _decoder(self.network, shape), FEATURES, size


def _encoder(network: Network, shape: Sequence[int]) -> Callable[[], nn.Module]:
    return lambda: network.encoder(shape, FEATURES)


def _decoder(network: Network, shape: Sequence[int]) -> Callable[[], nn.Module]:
    return lambda: network.decoder(FEATURES, shape)


def _fresh(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """Return a module as training builds it: with the global generators seeded."""
    seed_globals(seed, "check")
    return build()


def _moved(build: Callable[[], nn.Module]) -> nn.Module:
    """Return a module away from where it starts, where some parameters may be 0 and others have no gradient yet."""
    module, noise = _fresh(build), stream(0, "check/moves")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * noise.normal(*parameter.shape))
    return module


def _items(*shape: int) -> Tensor:
    return stream(0, "check/items").normal(*shape)


def check_refusals(subject: Subject) -> str:
    """What it cannot do it refuses in words, and it takes one of the usual shapes at least."""
    for shape in SHAPES:
        refusal = subject.network.refuses(shape)
        if not (refusal is None or (isinstance(refusal, str) and refusal)):
            raise Breach(f"refuses({shape}) gives {refusal!r}; it must give why it cannot do them, in words, or None")
    usual, taken = (", ".join("x".join(map(str, shape)) for shape in some) for some in (SHAPES, subject.shapes))
    if not taken:
        raise Breach(f"it refuses items of every usual shape, which are {usual}")
    return f"it takes items of {taken}"


def check_shapes(subject: Subject) -> str:
    """An encoder maps (..., D) to (..., outputs), a decoder (..., inputs) to (..., D)."""
    for words, build, inputs, outputs in subject.modules():
        module = _fresh(build)
        if not isinstance(module, nn.Module):
            raise Breach(f"{words} is a {type(module).__name__}, not a torch.nn.Module")
        for leading in LEADING:
            y = module(_items(*leading, inputs))
            if not isinstance(y, Tensor) or y.shape != (*leading, outputs) or y.dtype != torch.float32:
                kind = f"{y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
                right = f"it must give float32 {(*leading, outputs)}"
                raise Breach(f"{words} gives {kind.removeprefix('torch.')} for {(*leading, inputs)}; {right}")
            if not bool(y.isfinite().all()):
                raise Breach(f"{words} gives numbers that are not finite")
    return f"encoders (..., D) -> (..., {FEATURES}), decoders (..., {FEATURES}) -> (..., D)"


def check_items(subject: Subject) -> str:
    """What a module makes of an item does not depend on the items beside it."""
    for words, build, inputs, outputs in subject.modules():
        for leading in TOGETHER:
            several = "or on other samples of its z" if len(leading) > 1 else "as with batch statistics"
            breach = Breach(
                f"what {words} gives for an item depends on the items beside it, {several}; a score may not"
            )
            module, x = _moved(build), _items(*leading, inputs)
            # by gradients while it trains, when two calls may differ by chance
            beside = x.clone().requires_grad_()
            first = module(beside).flatten(0, -2)[0]
            weighted = (first * stream(0, "check/weights").normal(outputs)).sum()
            (gradient,) = torch.autograd.grad(weighted, beside, allow_unused=True)
            if gradient is not None and bool(gradient.flatten(0, -2)[1:].any()):
                raise breach
            module.eval()
            with torch.no_grad():
                together = module(x).flatten(0, -2)
                alone = torch.cat([module(item[None]) for item in x.flatten(0, -2)])
            if not torch.allclose(together, alone, rtol=CLOSE, atol=CLOSE * float(together.abs().max())):
                raise breach
    return "an item's outputs are its own, among items (B, ...) and among samples (K, B, ...)"


def check_gradients(subject: Subject) -> str:
    """Every parameter gets a gradient, once parameters have left their start."""
    count = 0
    for words, build, inputs, _ in subject.modules():
        module = _moved(build)
        free = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        if not free:
            raise Breach(f"{words} has no parameter that could be trained")
        module(_items(9, inputs)).square().sum().backward()
        for name, parameter in free.items():
            if parameter.grad is None or not bool(parameter.grad.any()):
                raise Breach(f"{words} has a parameter that nothing would train: {name} gets no gradient")
        count += len(free)
    return f"{count} tensors of parameters get gradients"


def check_seed(subject: Subject) -> str:
    """The same seed of the global generators builds the same module, another seed another."""
    for words, build, _, _ in subject.modules():
        first, again, other = (_fresh(build, seed).state_dict() for seed in (0, 0, 1))
        for name, value in first.items():
            if not torch.equal(value, again[name]):
                raise Breach(f"{words} starts elsewhere each time: {name} does not follow torch's global generator")
        if all(torch.equal(value, other[name]) for name, value in first.items()):
            raise Breach(f"{words} starts at the same numbers whatever the seed")
    return "a seed gives the same numbers, another seed others"


def check_state(subject: Subject) -> str:
    """A module's state, saved and loaded into a fresh one, gives the same outputs: nothing else is learned."""
    for words, build, inputs, _ in subject.modules():
        module, saved = _moved(build), io.BytesIO()
        x = _items(9, inputs)
        with torch.no_grad():
            module(x)  # in training mode, where it may note something
            torch.save(module.state_dict(), saved)
            saved.seek(0)
            fresh = _fresh(build, 1)
            try:
                fresh.load_state_dict(torch.load(saved, weights_only=True))
            except Exception as error:
                lines = str(error).splitlines() or [type(error).__name__]
                raise Breach(f"the state of {words} does not load into a fresh one: {lines[-1].strip()}") from error
            if not torch.equal(module.eval()(x), fresh.eval()(x)):
                raise Breach(f"{words} holds something that its state_dict lacks: register it as a buffer")
    return "states load into fresh modules, which give the same outputs"


def check_evaluation(subject: Subject) -> str:
    """In evaluation mode the same items give the same bits: no dropout is left on, and nothing is noted."""
    for words, build, inputs, _ in subject.modules():
        module, x = _moved(build).eval(), _items(9, inputs)
        with torch.no_grad():
            scramble(2)
            first = module(x)
            scramble(3)
            if not torch.equal(first, module(x)):
                raise Breach(f"{words} gives other numbers when it is called again in evaluation mode")
    return "the same bits twice"


def check_training(subject: Subject) -> str:
    """A tiny VAE trains with it and is scored."""
    task = _task(subject)
    run, baseline = Run(0, "cpu", subject.folder), Baseline()
    scores = baseline.evaluate(baseline.fit(task, run), task, run)
    return f"a tiny VAE trains with it, NLL {next(s.value for s in scores.scores if s.metric.name == 'nll'):.4g} nats"


def _task(subject: Subject) -> Task:
    shape = min(subject.shapes, key=math.prod)
    dataset = Items(shape=list(shape))
    task = tiny(dataset, dataset.load(Path()), batch=ITEMS // 2)
    networks = Networks(encoder=subject.network, decoder=subject.network, latent=LATENT)
    # no annealing, whose chains would take a minute where a network is large
    evaluation = task.evaluation.model_copy(update={"images": 4, "ais_nll": AisNll(images=0, simulated=0)})
    return replace(task, networks=networks, evaluation=evaluation)


def check_capture(subject: Subject) -> str:
    """Steps with it that are captured once and replayed give the bits of eager ones, where it says that they can be."""
    return replays.check(subject.network, Baseline(), _task(subject), subject.folder / "capture")


CONTRACTS = (
    Contract[Subject]("fields", fields.check),
    Contract("refusals", check_refusals),
    Contract("shapes", check_shapes, ("refusals",)),
    Contract("items", check_items, ("shapes",)),
    Contract("gradients", check_gradients, ("shapes",)),
    Contract("seed", check_seed, ("shapes",)),
    Contract("state", check_state, ("shapes",)),
    Contract("evaluation", check_evaluation, ("shapes",)),
    Contract("training", check_training, ("shapes", "gradients")),
    Contract("capture", check_capture, ("training",)),
)
