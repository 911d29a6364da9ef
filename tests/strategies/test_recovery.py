"""Each objective recovers a known prior from a frozen posterior, and what it is blind to is shown.

x is one of the 16 corners c + sum_j +-w_j/2, uniformly, and q(z|x) = N(corner, s^2 I) stays as it is. The aggregate
posterior is then a GRBM of 4 hidden units exactly: sigma = s, W = (w_1 .. w_4), and a bias that makes h uniform.
"""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.energies import GRBM
from bench.energies import mlp as energy_mlp
from bench.energies.densities import whitened
from bench.energies.grbm import Grbm
from bench.networks import perceptron
from bench.networks.mlp import Mlp
from bench.objectives import contrast
from bench.plugins import Registry
from bench.priors import Density, VampPrior
from bench.protocol import Budget, Evaluation, Networks, Splits, Task
from bench.strategy import Sampler
from bench.streams import Stream, seed_globals, stream
from bench.training import Batch, Model
from bench.vae import VAE, Encoder, Posterior, decoder

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


def build(name: str, latent: int = 2, batch: int = BATCH, **hyper: Any) -> tuple[Any, Model]:
    """A strategy and its modules, with networks that play no part."""
    plugin: Any = Registry().find("strategy", name).load()(**hyper)
    networks = Networks(encoder=Mlp(), decoder=Mlp(), latent=latent)
    nothing = np.zeros((batch, 1), np.float32)
    splits = Splits(nothing, nothing, nothing, "")
    dataset: Any = None  # never asked: the posterior is given
    task = Task(dataset, splits, networks, Budget(batch_size=batch), Evaluation())
    seed_globals(0, "prior", -1)
    vae = VAE(Encoder(perceptron(1, [], 2 * latent, "elu")), decoder(networks, (1,), "gaussian"))
    return plugin, Model(vae, plugin.prior(task, vae, stream(0, "prior", -1)), plugin.others(task))


def train(
    name: str,
    means: Tensor,
    weights: Tensor,
    steps: int,
    rates: dict[str, float],
    batch: int = BATCH,
    begin: Density | None = None,
    **hyper: Any,
) -> Model:
    """Carry out the strategy's own objective on frozen posteriors, with learning rates that decay to zero."""
    plugin, model = build(name, means.shape[1], batch, **hyper)
    if begin is not None:
        model.prior.load_state_dict(begin.state_dict())
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
        chosen = torch.searchsorted(cumulative, batches.uniform(batch)).clamp(max=len(means) - 1)
        posterior = Posterior(means[chosen], torch.full((batch, means.shape[1]), math.log(S)))
        z = posterior.sample(batches.normal(batch, means.shape[1]))
        seed_globals(0, "prior", step)
        for loss_name, loss in plugin.objective(model, z, posterior, noise.at(step)):
            for group, adam in adams.items():
                if loss_name in plugin.reach[group]:
                    adam.zero_grad()
                    parameters = list(model.groups[group].parameters())
                    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                        parameter.grad = gradient
                    adam.step()
    return model


UNIFORM = torch.full((16,), 1 / 16)
FOUR = Grbm(hidden=4)
CORNERS = corners(SIDES, CENTRE)

# Four columns of W cannot be orthogonal in the plane, and the bias cannot undo the cross terms (W_i'W_j)/s^2 of
# log p(h). So no GRBM is the truth: the least divergence, by direct minimisation, is .006.
# The Gaussian with the same moments has .034.
FLOOR, BOUND, OF_A_GAUSSIAN = 0.005, 0.010, 0.030

Case = tuple[str, int, dict[str, float], dict[str, Any]]
QUICK: dict[str, Case] = {
    "exact": ("sliced-score-matching", 4000, {"prior": 0.02}, {"variant": "exact"}),
}
SLOW: dict[str, Case] = {
    "denoising": ("denoising-score-matching", 4000, {"prior": 0.02}, {}),
    "sliced": ("sliced-score-matching", 4000, {"prior": 0.02}, {}),
    "variance-reduced": ("sliced-score-matching", 4000, {"prior": 0.02}, {"variant": "variance-reduced"}),
    "Stein": ("stein", 2500, {"prior": 0.01, "critic": 0.003}, {"critic_hidden": [64, 64], "batch": 256}),
    # its gradient is a difference of two noisy means: with 1,024 items it does not leave the saddle at W = 0 in time
    "CD from noise": (
        "contrastive-divergence",
        3000,
        {"prior": 0.01},
        {"start": "noise", "negatives": Sampler(kind="gibbs", steps=10), "batch": 4096},
    ),
    "persistent CD": (
        "contrastive-divergence",
        4000,
        {"prior": 0.01},
        {"start": "persistent", "negatives": Sampler(kind="gibbs", steps=1), "batch": 4096},
    ),
}
CASES = [
    *(pytest.param(case, id=name) for name, case in QUICK.items()),
    *(pytest.param(case, id=name, marks=pytest.mark.slow) for name, case in SLOW.items()),
]


@pytest.mark.slow
def test_a_classifier_recovers_it() -> None:
    """`noise-contrastive`: its tilt of N(0, I) is no GRBM, whose least divergence is no floor here."""
    plugin, model = build("noise-contrastive", energy=energy_mlp.Mlp(hidden=64))
    adam, batches, noise = torch.optim.Adam(model.prior.parameters()), Stream(0, "posterior"), Stream(0, "prior")
    frozen = SimpleNamespace(encoder=lambda x: Posterior(x, torch.full_like(x, math.log(S))))
    seen = SimpleNamespace(vae=frozen, prior=model.prior)
    for step in range(1500):
        adam.param_groups[0]["lr"] = 0.005 * min(1.0, 2 * (1 - step / 1500))
        x = CORNERS[batches.at(step).integers(16, BATCH)]
        ((_, loss),) = plugin.latent_losses(seen, Batch(x, batches, noise.at(step)))
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert divergence(model.prior, CORNERS, UNIFORM) < BOUND


@pytest.mark.slow
def test_short_runs_from_noise_recover_it() -> None:
    """`tilted`, with its sixty steps of Langevin."""
    perceptron = energy_mlp.Mlp(hidden=64)
    model = train("tilted", CORNERS, UNIFORM, 600, {"prior": 0.005}, batch=512, energy=perceptron)
    assert divergence(model.prior, CORNERS, UNIFORM) < BOUND


@pytest.mark.parametrize("case", CASES)
def test_a_grbm_recovers_the_aggregate_posterior(case: Case) -> None:
    name, steps, rates, hyper = case
    model = train(name, CORNERS, UNIFORM, steps, rates, energy=FOUR, **hyper)
    assert FLOOR < divergence(model.prior, CORNERS, UNIFORM) < BOUND


@pytest.mark.slow
def test_an_adversary_that_keeps_up_keeps_the_prior_at_its_optimum() -> None:
    found = train("sliced-score-matching", CORNERS, UNIFORM, 4000, {"prior": 0.02}, energy=FOUR, variant="exact")
    flow: dict[str, Any] = {"hidden": [64, 64], "adversary_steps": 3}
    rates = {"prior": 0.001, "adversary": 0.001}
    model = train("adversarial", CORNERS, UNIFORM, 1500, rates, begin=found.prior, energy=FOUR, **flow)
    assert FLOOR < divergence(model.prior, CORNERS, UNIFORM) < BOUND


@pytest.mark.slow
def test_from_the_start_the_adversary_ends_between_the_optimum_and_a_gaussian() -> None:
    """At .024, with flows of two steps or four and batches of 2,048 or 4,096 alike: an optimum of its own."""
    flow: dict[str, Any] = {"transforms": 2, "hidden": [32, 32], "adversary_steps": 5}
    rates = {"prior": 0.01, "adversary": 0.001}
    model = train("adversarial", CORNERS, UNIFORM, 4000, rates, energy=FOUR, batch=4096, **flow)
    assert BOUND < divergence(model.prior, CORNERS, UNIFORM) < OF_A_GAUSSIAN


def test_importance_weighting_does_not() -> None:
    """Its ln Z sees the prior only where one item's posterior lies, so it learns next to nothing of the rest."""
    plugin, model = build("importance-weighted", energy=FOUR, samples=16)
    adam = torch.optim.Adam(model.prior.parameters(), lr=0.02)
    batches = Stream(0, "posterior")
    for step in range(1000):
        for group in adam.param_groups:
            group["lr"] = 0.02 * min(1.0, 2 * (1 - step / 1000))
        x = CORNERS[batches.at(step).integers(16, 256)]
        frozen = SimpleNamespace(encoder=lambda x: Posterior(x, torch.full_like(x, math.log(S))))
        frozen.log_likelihood = lambda x, z: torch.zeros(z.shape[:-1])
        ((_, loss),) = plugin.losses(SimpleNamespace(vae=frozen, prior=model.prior), Batch(x, batches, batches))
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert divergence(model.prior, CORNERS, UNIFORM) > OF_A_GAUSSIAN


# ---------------------------------------------------------------- blindness to the weights of modes

MODES = torch.tensor([[-4 * S, 0.0], [4 * S, 0.0]])  # 8 s apart
WEIGHTS = torch.tensor([0.25, 0.75])


def two_modes(prior: GRBM, modes: Tensor) -> None:
    """Set a GRBM of one hidden unit to two modes, each of weight one half."""
    with torch.no_grad():
        prior.mu.copy_(modes[0])
        prior.weight.copy_((modes[1] - modes[0])[:, None])
        prior.log_var.fill_(2 * math.log(S))
        prior.bias.zero_()
        prior.bias.sub_(log_odds(prior))


def log_odds(prior: GRBM) -> Tensor:
    """log p(h = 1) - log p(h = 0), exactly."""
    column, var = prior.weight[:, 0], prior.var
    return prior.bias + (column * prior.mu / var + 0.5 * column.square() / var).sum()


BLIND: dict[str, tuple[str, dict[str, float], dict[str, Any]]] = {
    "sliced score matching": ("sliced-score-matching", {}, {}),
    "denoising score matching": ("denoising-score-matching", {}, {}),
    "Stein": ("stein", {"critic": 0.003}, {"critic_hidden": [32, 32], "critic_steps": 2}),
    "CD from the posterior": ("contrastive-divergence", {}, {}),
}


STEPS, LR = 300, 0.002  # what maximum likelihood needs to see it
LONG_STEPS, LONG_LR = 600, 0.02


def weight_after(blind: str, monkeypatch: pytest.MonkeyPatch, modes: Tensor, steps: int, lr: float) -> float:
    """The weight of the right-hand mode after training from one half, on data where it is three quarters."""
    name, rates, hyper = BLIND[blind]
    plugin: Any = Registry().find("strategy", name).load()
    original = plugin.prior

    def at_the_modes(self: Any, *arguments: Any) -> Density:
        prior: GRBM = original(self, *arguments)
        two_modes(prior, modes)
        return prior

    monkeypatch.setattr(plugin, "prior", at_the_modes)
    model = train(name, modes, WEIGHTS, steps, {**rates, "prior": lr}, energy=Grbm(hidden=1), **hyper)
    assert isinstance(model.prior, GRBM)
    with torch.no_grad():
        return float(torch.sigmoid(log_odds(model.prior)))


@pytest.mark.parametrize("blind", BLIND)
def test_local_objectives_do_not_see_how_much_mass_a_mode_has(blind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the truth's modes but with weight one half, they have no reason to move towards three quarters."""
    assert abs(weight_after(blind, monkeypatch, MODES, STEPS, LR) - 0.5) < abs(0.75 - 0.5) / 2


@pytest.mark.slow
@pytest.mark.parametrize("blind", BLIND)
def test_how_blind_they_are_depends_on_the_distance(blind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With twice the steps, each ten times as long, the few items between modes 8 s apart tell; 12 s apart none do."""
    near, far = (weight_after(blind, monkeypatch, modes, LONG_STEPS, LONG_LR) for modes in (MODES, 1.5 * MODES))
    assert near - 0.5 > abs(0.75 - 0.5) / 2 > abs(far - 0.5)


def test_maximum_likelihood_sees_it() -> None:
    """The same start and the same steps, with exact samples of the prior in place of chains that do not travel."""
    prior = GRBM(2, 1)
    two_modes(prior, MODES)
    adam, noise = torch.optim.Adam(prior.parameters(), lr=LR), stream(0, "prior")
    for step in range(STEPS):
        adam.param_groups[0]["lr"] = LR * min(1.0, 2 * (1 - step / STEPS))
        right = (noise.uniform(BATCH) < 0.75).long()
        z = MODES[right] + S * noise.normal(BATCH, 2)
        with torch.no_grad():
            h = (noise.uniform(BATCH, 1) < torch.sigmoid(log_odds(prior))).float()
            own = prior.draw_visible(h, noise)
        adam.zero_grad()
        contrast(prior, z, own).backward()
        adam.step()
    # the share of right-hand draws in the last batches has standard error sqrt(.75 * .25/1024) = .014
    assert float(torch.sigmoid(log_odds(prior).detach())) == pytest.approx(0.75, abs=4 * 0.014)


# ---------------------------------------------------------------- other priors, other dimensions


def test_a_vampprior_of_16_components_recovers_the_16_corners() -> None:
    """Its share of the bound is maximum likelihood; the encoder is frozen to N(u, s^2 I)."""
    noise = stream(0, "prior", -1)
    items = CORNERS[noise.permutation(16)] + 0.3 * noise.normal(16, 2)
    prior = VampPrior(lambda u: Posterior(u, torch.full_like(u, math.log(S))), items)
    adam, batches = torch.optim.Adam(prior.parameters(), lr=0.02), Stream(0, "posterior")
    for step in range(600):
        adam.param_groups[0]["lr"] = 0.02 * min(1.0, 2 * (1 - step / 600))
        z = CORNERS[batches.at(step).integers(16, BATCH)] + S * batches.normal(BATCH, 2)
        adam.zero_grad()
        prior.energy(z).mean().backward()
        adam.step()
    assert divergence(prior, CORNERS, UNIFORM) < BOUND


ORTHOGONAL = torch.linalg.qr(torch.tensor(np.random.default_rng(0).normal(size=(8, 4)), dtype=torch.float32))[0].T


BLOCK = {"negatives": Sampler(kind="gibbs", steps=1), "batch": 4096}
EIGHT: dict[str, Case] = {
    "sliced": ("sliced-score-matching", 6000, {"prior": 0.01}, {}),
    "denoising": ("denoising-score-matching", 6000, {"prior": 0.01}, {}),
    "Stein": ("stein", 2500, {"prior": 0.01, "critic": 0.003}, {"critic_hidden": [64, 64], "batch": 256}),
    "CD from the posterior": ("contrastive-divergence", 4000, {"prior": 0.01}, BLOCK),
    "persistent CD": ("contrastive-divergence", 4000, {"prior": 0.01}, BLOCK | {"start": "persistent"}),
    "adversary": (
        "adversarial",
        3000,
        {"prior": 0.005, "adversary": 0.001},
        {"hidden": [64, 64], "adversary_steps": 3},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in EIGHT.items()])
def test_in_eight_dimensions_a_grbm_recovers_corners_that_it_can_be(case: Case) -> None:
    """Four orthogonal sides of 3 s: here the truth is a GRBM. KL by exact densities and Monte Carlo."""
    means = corners(3 * S * ORTHOGONAL, torch.zeros(8))
    name, steps, rates, hyper = case
    prior = train(name, means, UNIFORM, steps, rates, energy=FOUR, **hyper).prior
    assert isinstance(prior, GRBM)
    noise, n = stream(1, "posterior"), 100_000
    z = means[noise.integers(16, n)] + S * noise.normal(n, 8)
    with torch.no_grad():
        terms = mixture_log_density(z, means, UNIFORM) + prior.energy(z) + whitened.log_z(prior.whitened())
    assert float(terms.mean()) < 0.02 + 3 * float(terms.std()) / n**0.5
