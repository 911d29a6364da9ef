"""Contenders: a step of training, 64 items of MNIST's size a batch. Pixels are random, which does not matter here."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contender
import numpy as np
import torch
from torch import nn
from torch.nn import functional

BATCH, PIXELS, LATENT, WIDTH = 64, 784, 64, 256
ITEMS = 60_000


def _items(shape: tuple[int, ...] = (28, 28)) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(ITEMS, *shape), dtype=np.uint8)


# ---------------------------------------------------------------- by hand


def _networks() -> tuple[nn.Sequential, nn.Sequential]:
    def chain(*widths: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ELU()]
        return nn.Sequential(*layers[:-1])

    return chain(PIXELS, WIDTH, WIDTH, 2 * LATENT), chain(LATENT, WIDTH, WIDTH, PIXELS)


def _bare(fused: bool) -> Callable[[], None]:
    torch.manual_seed(0)
    encoder, decoder = _networks()
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=fused or None)
    data = torch.from_numpy(_items((PIXELS,)))

    def step() -> None:
        x = torch.bernoulli(data[torch.randint(len(data), (BATCH,))].float() / 255)
        mean, log_variance = encoder(x).chunk(2, -1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        fit = functional.binary_cross_entropy_with_logits(decoder(z), x, reduction="none").sum(-1)
        divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(-1)
        loss = (fit + divergence).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()

    return step


def bare_default() -> Callable[[], None]:
    """A loop by hand with default Adam."""
    return _bare(fused=False)


def bare_fused() -> Callable[[], None]:
    """A loop by hand with fused Adam."""
    return _bare(fused=True)


def products() -> Callable[[], None]:
    """The matrix products of a step alone: forward, and backward to weights and to all inputs but the first."""
    shapes = [(PIXELS, WIDTH), (WIDTH, WIDTH), (WIDTH, 2 * LATENT), (LATENT, WIDTH), (WIDTH, WIDTH), (WIDTH, PIXELS)]
    weights = [torch.randn(after, before) for before, after in shapes]
    inputs = [torch.randn(BATCH, before) for before, _ in shapes]
    outputs = [torch.randn(BATCH, after) for _, after in shapes]

    def step() -> None:
        for number, (weight, x, y) in enumerate(zip(weights, inputs, outputs, strict=True)):
            x @ weight.T
            y.T @ x
            if number:
                y @ weight

    return step


# ---------------------------------------------------------------- as `bench` does


def _trained(grid: str, label: str, shape: tuple[int, ...] = (28, 28)) -> None:
    """Train the row of a grid, as a worker does, until nobody asks for more."""
    import bench.grid as grids
    from bench.plugins import Registry, build
    from bench.protocol import Run, Splits, Stopped, Task

    contender.as_worker()
    registry = Registry()
    cell = next(cell for cell in grids.load(grid, registry).cells if cell.label == label)
    strategy: Any = build(registry.find("strategy", cell.strategy), cell.hyper, "", registry.component)
    dataset: Any = build(registry.find("dataset", cell.dataset), cell.options, "", registry.component)
    items = _items(shape)
    splits = Splits(items, items[:0], items[:1000], "0" * 64)
    task = Task(dataset, splits, registry.networks(cell.networks, ""), cell.budget, cell.evaluation)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(0, "cpu", Path(folder), stop_requested=lambda: contender.turn())
        try:
            strategy.fit(task, run)
        except Stopped:
            return


def normal() -> None:
    """A step of `normal`."""
    _trained("mnist", "normal")


def score_matching() -> None:
    """A step of sliced score matching."""
    _trained("mnist", "sliced-score-matching[variant=sliced]")


def variance_reduced() -> None:
    """A step of score matching in its variance-reduced form."""
    _trained("mnist", "sliced-score-matching[variant=variance-reduced]")


def vampprior_16() -> None:
    """A step of VampPrior with 16 components."""
    _trained("mnist", "vampprior[components=16]")


def vampprior_500() -> None:
    """A step of VampPrior with 500 components."""
    _trained("mnist", "vampprior[components=500]")


def adversarial() -> None:
    """A step of `adversarial`."""
    _trained("mnist", "adversarial")


# ---------------------------------------------------------------- convolutions


def _convolutional(last: bool) -> Callable[[], None]:
    """Return a step of the grid `cifar10-subset`'s networks on 256 images, without what moves them."""
    import bench.grid as grids
    from bench import vae
    from bench.networks.modules import convolutions
    from bench.plugins import Registry

    contender.as_worker()
    registry = Registry()
    cell = grids.load("cifar10-subset", registry).cells[0]
    networks, shape = registry.networks(cell.networks, ""), (3, 32, 32)
    encoder, decoder = vae.encoder(networks, shape), vae.decoder(networks, shape, "laplace")
    if not last:
        for parameter in [*encoder.parameters(), *decoder.parameters()]:
            parameter.data = parameter.data.contiguous()
        convolutions.images = lambda x, shape: x.reshape(-1, *shape)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    x = torch.randn(256, 3 * 32 * 32)

    def step() -> None:
        posterior = encoder(x)
        loss = (decoder(posterior.mean) - x).abs().mean() + posterior.log_std.mean()
        torch.autograd.grad(loss, [parameter for parameter in parameters if parameter.requires_grad], allow_unused=True)

    return step


def channels_last() -> Callable[[], None]:
    """As `bench` does."""
    return _convolutional(last=True)


def contiguous() -> Callable[[], None]:
    """Planes outermost in memory."""
    return _convolutional(last=False)
