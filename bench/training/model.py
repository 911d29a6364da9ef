"""What is trained, and what a step of training sees."""

from __future__ import annotations

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
        return {"encoder": self.vae.encoder, "decoder": self.vae.decoder, "prior": self.prior, **self.others}


@dataclass(frozen=True)
class Batch:
    """One step's items, prepared `(B, D)`, and its noise: `posterior` is common to all strategies, `prior` is not."""

    x: Tensor
    posterior: Stream
    prior: Stream


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
