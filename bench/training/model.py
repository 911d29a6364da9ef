"""What is trained, and what a step of training sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bench.priors.density import Density
from bench.protocol import Noise, Run, Task
from bench.streams import Stream, stream
from bench.vae.autoencoder import VAE, Posterior
from bench.vae.likelihoods import Laplace

WATCHED = 1024  # training items on which an epoch's figures are measured, and so many at a time
LATENTS = 10_000  # training items whose posterior samples give log Z's estimators the moments of q(z)


@dataclass(frozen=True)
class Model:
    """A VAE, its prior, and whatever else a strategy trains (an adversary, a critic), by name."""

    vae: VAE
    prior: Density
    others: dict[str, nn.Module] = field(default_factory=dict)

    @property
    def groups(self) -> dict[str, nn.Module]:
        """The parameter groups: `encoder`, `decoder`, `prior` and the others."""
        return {**self.scored, **self.others}

    @property
    def scored(self) -> dict[str, nn.Module]:
        """The parameter groups that scores are of: `encoder`, `decoder` and `prior`."""
        return {"encoder": self.vae.encoder, "decoder": self.vae.decoder, "prior": self.prior}


@dataclass(frozen=True)
class Batch:
    """One step's items, prepared `(B, D)`, and its noise: `posterior` is common to all strategies, `prior` is not.

    Attributes:
        weight: of the KL term log q - log p, any log Z of the loss's own included, in every loss that reaches the
            encoder; None where it is 1 throughout.
        shown: loss -> what curves show of it: what it is at weight 1, where that is another.
    """

    x: Tensor
    posterior: Stream
    prior: Stream
    weight: Tensor | None = None
    shown: dict[str, Tensor] = field(default_factory=dict)

    def weighted(self, name: str, loss: Callable[[Tensor | float], Tensor]) -> Tensor:
        """Return a loss at this step's weight of the KL term, which `loss` takes."""
        if self.weight is None:
            return loss(1.0)
        with torch.no_grad():
            self.shown[name] = loss(1.0)
        return loss(self.weight)


@contextmanager
def held(module: nn.Module) -> Iterator[None]:
    """Record no gradients of a module's parameters in the block: what cannot move need not be differentiated."""
    moving = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in moving:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in moving:
            parameter.requires_grad_(True)


def latents(model: Model, task: Task, n: int, noise: Noise) -> tuple[Tensor, Posterior, Tensor]:
    """Return the first `n` training items as prepared, `(n, D)`, their posteriors and a sample of each, `(n, d)`."""
    x = task.dataset.prepare(torch.from_numpy(task.splits.train[:n]).to(noise.device), noise)
    posterior: Posterior = model.vae.encoder(x)
    return x, posterior, posterior.sample(noise.normal(*posterior.mean.shape))


def freeze(model: Model, task: Task, run: Run) -> None:
    """Freeze a calibrated likelihood's scale, from training items with a posterior sample each."""
    likelihood = model.vae.decoder.likelihood
    if not isinstance(likelihood, Laplace):
        return
    noise = stream(run.seed, "evaluate/scale", 0, run.device)
    with torch.no_grad():
        means = []
        for items in torch.from_numpy(task.splits.train[:LATENTS]).split(WATCHED):
            x = task.dataset.prepare(items.to(run.device), noise)
            posterior = model.vae.encoder(x)
            z = posterior.sample(noise.normal(*posterior.mean.shape))
            means.append((x - model.vae.decoder(z)).abs().mean(1))
        likelihood.freeze(torch.cat(means).mean())
