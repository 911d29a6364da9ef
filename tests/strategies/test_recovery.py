"""Each objective recovers a known prior from a frozen posterior, and what it is blind to is shown.

x is one of the 16 corners c + sum_j +-w_j/2, uniformly, and q(z|x) = N(corner, s^2 I) stays as it is. The aggregate
posterior is then a GRBM of 4 hidden units exactly: sigma = s, W = (w_1 .. w_4), and a bias that makes h uniform.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.plugins import Registry
from bench.priors import Density
from bench.protocol import Budget, Evaluation, Networks, Splits, Task
from bench.strategy import Energy, Sampler
from bench.streams import Stream, seed_globals, stream
from bench.training import Model
from bench.vae import VAE, Encoder, Posterior, decoder, mlp

S = 0.5
SIDES = torch.tensor([[1.5, 0.0], [0.0, 1.5], [0.75, 0.75], [-0.6, 0.9]])  # none longer than 3 s
CENTRE = torch.tensor([0.3, -0.2])
BATCH = 1024


def corners(sides: Tensor, centre: Tensor) -> Tensor:
    """The `(2^n, d)` corners."""
    signs = torch.tensor(list(itertools.product([-0.5, 0.5], repeat=len(sides))))
    return centre + signs @ sides


def mixture_log_density(z: Tensor, means: Tensor, weights: Tensor) -> Tensor:
    """log q(z), `(n,)`, of the mixture of N(mean, s^2 I)."""
    squares = torch.cdist(z, means.to(z)).square() / (2 * S**2)
    constant = z.shape[-1] * (math.log(S) + 0.5 * math.log(2 * math.pi))
    return torch.logsumexp(weights.to(z).log() - squares, 1) - constant


def divergence(prior: Density, means: Tensor, weights: Tensor) -> float:
    """KL(q || p) in two dimensions by quadrature, log Z included."""
    grid = torch.linspace(-7, 7, 561, dtype=torch.float64)
    z = torch.cartesian_prod(grid, grid)
    cell = math.log(float(grid[1] - grid[0])) * 2
    log_q = mixture_log_density(z, means, weights)
    with torch.no_grad():
        energy = prior.double().energy(z)
        prior.float()
    log_p = -energy - (torch.logsumexp(-energy, 0) + cell)
    return float((log_q.exp() * (log_q - log_p)).sum() * math.exp(cell))


def build(name: str, latent: int = 2, **hyper: Any) -> tuple[Any, Model]:
    """A strategy and its modules, with networks that play no part."""
    plugin: Any = Registry().find("strategy", name).load()(**hyper)
    networks = Networks(latent=latent)
    nothing = np.zeros((BATCH, 1), np.float32)
    splits = Splits(nothing, nothing, nothing, "")
    dataset: Any = None  # never asked: the posterior is given
    task = Task(dataset, splits, networks, Budget(batch_size=BATCH), Evaluation())
    seed_globals(0, "prior", -1)
    vae = VAE(Encoder(mlp(1, [], 2 * latent, "elu")), decoder(networks, 1, "gaussian"))
    return plugin, Model(vae, plugin.prior(task, vae, stream(0, "prior", -1)), plugin.others(task))


def train(
    name: str,
    means: Tensor,
    weights: Tensor,
    steps: int,
    rates: dict[str, float],
    watch: Callable[[Model], None] | None = None,
    **hyper: Any,
) -> Model:
    """Carry out the strategy's own objective on frozen posteriors, with learning rates that decay to zero."""
    plugin, model = build(name, means.shape[1], **hyper)
    noise, batches = Stream(0, "prior"), Stream(0, "posterior")
    adams = {}
    for group, rate in rates.items():
        betas = plugin.optimiser(group, Budget()).betas
        adams[group] = torch.optim.Adam(model.groups[group].parameters(), lr=rate, betas=tuple(betas))
    cumulative = weights.cumsum(0)
    for step in range(steps):
        for group, adam in adams.items():
            adam.param_groups[0]["lr"] = rates[group] * min(1.0, 2 * (1 - step / steps))
        batches.at(step)
        chosen = torch.searchsorted(cumulative, batches.uniform(BATCH)).clamp(max=len(means) - 1)
        posterior = Posterior(means[chosen], torch.full((BATCH, means.shape[1]), math.log(S)))
        z = posterior.sample(batches.normal(BATCH, means.shape[1]))
        seed_globals(0, "prior", step)
        for loss_name, loss in plugin.objective(model, z, posterior, noise.at(step)):
            for group, adam in adams.items():
                if loss_name in plugin.reach[group]:
                    adam.zero_grad()
                    parameters = list(model.groups[group].parameters())
                    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                        parameter.grad = gradient
                    adam.step()
        if watch is not None and step % 250 == 0:
            watch(model)
    return model


UNIFORM = torch.full((16,), 1 / 16)
FOUR = Energy(hidden=4)
RECOVER: dict[str, tuple[str, int, dict[str, float], dict[str, Any]]] = {
    "sliced": ("sliced-score-matching", 4000, {"prior": 0.02}, {}),
    "variance-reduced": ("sliced-score-matching", 4000, {"prior": 0.02}, {"variant": "variance-reduced"}),
    "exact": ("sliced-score-matching", 4000, {"prior": 0.02}, {"variant": "exact"}),
    "denoising": ("denoising-score-matching", 4000, {"prior": 0.02}, {}),
    "CD, Gibbs from noise": (
        "contrastive-divergence",
        3000,
        {"prior": 0.02},
        {"start": "noise", "negatives": Sampler(kind="gibbs", steps=20)},
    ),
    "CD, persistent": (
        "contrastive-divergence",
        4000,
        {"prior": 0.01},
        {"start": "persistent", "negatives": Sampler(kind="gibbs", steps=5)},
    ),
    "adversarial": (
        "adversarial",
        3000,
        {"prior": 0.01, "adversary": 0.002},
        {"hidden": [32, 32], "adversary_steps": 2},
    ),
    "Stein": ("stein", 2500, {"prior": 0.01, "critic": 0.003}, {"critic_hidden": [64, 64]}),
}
