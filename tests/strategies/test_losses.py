"""What the losses of the built-in strategies are, written out at draws of the same streams."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.energies.grbm import Grbm
from bench.energies.mlp import Mlp
from bench.priors import Density, StandardNormal
from bench.streams import stream
from bench.training import Model
from bench.vae import Posterior
from tests.strategies.test_recovery import build

D, N = 3, 64
Z = 2 + stream(0, "posterior").normal(N, D)  # of another mean than the noise, so that no loss is near 0
ROUNDING = 1e-6  # relative, of sums of float32 that are not near 0


def losses(plugin: Any, model: Model, z: Tensor = Z, posterior: Any = None) -> dict[str, float]:
    """Return the losses of one step by name, the last of each."""
    found = plugin.objective(model, z, posterior, stream(0, "prior"))
    return {name: loss.item() for name, loss in found}


def rises(prior: Density, z: Tensor, negative: Tensor) -> float:
    """Return by how much the energy at z is above that at negative samples, in the mean."""
    return float(prior.energy(z).detach().double().mean() - prior.energy(negative).detach().double().mean())


def test_a_classifiers_loss_is_the_cross_entropy_of_latents_that_are_real_and_noise_that_is_not() -> None:
    """With a tilt a z_0 the logit of "real" is -a z_0: softplus(a z_0) at latents, softplus(-a z_0) at noise."""
    a, at = 0.7, 3.0
    plugin, model = build("noise-contrastive", D, energy=Mlp(hidden=4))
    linear = nn.Linear(D, 1, bias=False)
    linear.weight.data.copy_(torch.tensor([[a, 0.0, 0.0]]))
    model.prior.net = linear
    noise = stream(0, "prior").normal(N, D)[:, 0]
    expected = functional.softplus(torch.tensor(at * a)) + functional.softplus(-a * noise).mean()
    found = losses(plugin, model, torch.full((N, D), at))
    assert found == {"classification": pytest.approx(expected.item(), rel=ROUNDING)}


def test_a_tilted_energy_goes_down_at_latents_and_up_at_the_ends_of_short_runs() -> None:
    """Of one step z - s grad E + sqrt(2s) eps from N(0, I)."""
    s = 0.3
    plugin, model = build("tilted", D, energy=Mlp(hidden=4), negatives={"kind": "langevin", "steps": 1, "step_size": s})
    noise = stream(0, "prior")
    start, eps = noise.normal(N, D), noise.normal(N, D)
    end = start - s * model.prior.gradient(start) + (2 * s) ** 0.5 * eps
    assert losses(plugin, model) == {"contrast": pytest.approx(rises(model.prior, Z, end), rel=ROUNDING)}


def test_an_energy_goes_down_at_latents_and_up_at_an_adversarys_draws() -> None:
    """The adversary's last loss is E plus log density at draws of its own; the prior's is at later ones."""
    plugin, model = build("adversarial", D, transforms=2, hidden=[8], adversary_steps=2, energy=Grbm(hidden=4))
    flow, noise = model.others["adversary"](), stream(0, "prior")
    _, own, later = (flow.transform.inv(noise.normal(N, D)).detach() for _ in range(3))
    bound = model.prior.energy(own) + flow.log_prob(own)
    assert losses(plugin, model) == {
        "adversary": pytest.approx(bound.mean().item(), rel=1e-4),  # the flow is turned round and back, in float32
        "contrast": pytest.approx(rises(model.prior, Z, later), rel=ROUNDING),
    }


def test_the_regression_on_posterior_scores_is_of_samples_around_means() -> None:
    """x ~ N(0, 1 - s^2), z = x + s eps, under N(0, 1): z - eps/s = x + (s - 1/s) eps has the variance 1/s^2 - 1.

    Half of it is the loss. Its standard error is that of half a squared normal of this variance: sqrt(2)/2 of it over
    sqrt(n).
    """
    n, s = 40_000, 0.6
    plugin, model = build("denoising-score-matching", 1)
    noise = stream(0, "posterior")
    mean = (1 - s**2) ** 0.5 * noise.normal(n, 1)
    posterior = Posterior(mean, torch.full((n, 1), s).log())
    z = posterior.sample(noise.normal(n, 1))
    variance = 1 / s**2 - 1
    found = losses(plugin, Model(model.vae, StandardNormal(1)), z, posterior)
    assert found == {"score-matching": pytest.approx(variance / 2, abs=4 * variance / (2 * n) ** 0.5)}


def test_each_variant_of_score_matching_is_its_own_formula() -> None:
    """-v'Hv with half of (v'g)^2, or with half of g'g, or -tr H with half of g'g, for v of the step's stream."""
    found = {}
    v = stream(0, "prior").rademacher(N, D)
    for variant in ("sliced", "variance-reduced", "exact"):
        plugin, model = build("sliced-score-matching", D, energy=Grbm(hidden=4), variant=variant)
        ((_, found[variant]),) = losses(plugin, model).items()
        prior = model.prior.double()  # the same parameters for every variant
    z, directions = Z.double(), v.double()
    gradient, along = prior.gradient(z), prior.curvature(z, directions)
    trace = torch.stack([prior.curvature(z, axis.expand(N, D)) for axis in torch.eye(D, dtype=torch.float64)]).sum(0)
    squares = gradient.square().sum(1)
    expected = {
        "sliced": (0.5 * (gradient * directions).sum(1).square() - along).mean(),
        "variance-reduced": (0.5 * squares - along).mean(),
        "exact": (0.5 * squares - trace).mean(),
    }
    for variant, value in expected.items():
        assert found[variant] == pytest.approx(value.item(), rel=ROUNDING), variant
    values = sorted(found.values())  # apart, or no formula could be told from another
    assert min(b - a for a, b in itertools.pairwise(values)) > 1e-3 * abs(values[0])
