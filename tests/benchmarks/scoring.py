"""What scoring costs: each function sets up, and returns one repetition of some .1 to 1 s."""

from __future__ import annotations

from collections.abc import Callable

import contender
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.energies import GRBM
from bench.energies.densities import annealing
from bench.estimators import ais, bounds, evidence
from bench.estimators.subject import Subject
from bench.networks.mlp import Mlp
from bench.priors import Density, StandardNormal, VampPrior
from bench.protocol import AisNll, Evaluation, Networks
from bench.streams import stream
from bench.vae import VAE, decoder, encoder

IMAGES, SAMPLES, LATENT, BLOCK = 30, 1000, 64, 500


def model() -> tuple[VAE, Tensor]:
    """Return a VAE of MNIST's size, untrained, and images."""
    contender.as_worker()
    torch.manual_seed(0)
    networks = Networks(encoder=Mlp(), decoder=Mlp(), latent=LATENT)
    vae = VAE(encoder(networks, (28, 28)), decoder(networks, (28, 28), "bernoulli")).eval().requires_grad_(False)
    return vae, (torch.rand(IMAGES, 784) < 0.2).float()


def subject(vae: VAE, x: Tensor, prior: Density) -> Subject:
    """Return what is scored."""
    settings = Evaluation(importance_samples=SAMPLES, ais_nll=AisNll(images=IMAGES, temperatures=20, chains=4))
    return Subject(vae, prior, x, torch.randn(100, LATENT), settings, lambda name: stream(0, name))


def nll() -> Callable[[], None]:
    """The NLL under N(0, I): a ratio to `nll_products` and `nll_by_hand`."""
    vae, x = model()
    scored = subject(vae, x, StandardNormal(LATENT))
    return lambda: void(bounds.importance(scored))


def nll_vampprior_500() -> Callable[[], None]:
    """The NLL under VampPrior-500: a ratio to `nll`."""
    vae, x = model()
    scored = subject(vae, x, VampPrior(vae.encoder, torch.rand(500, 784), (0, 1)).requires_grad_(False))
    return lambda: void(bounds.importance(scored))


@torch.inference_mode()
def nll_products() -> Callable[[], None]:
    """The decoder's layers, matrix products alone, for as many samples."""
    vae, _ = model()
    weights = [part.weight for part in vae.decoder.modules() if isinstance(part, nn.Linear)]
    z = torch.randn(BLOCK, LATENT)

    @torch.inference_mode()
    def run() -> None:
        for _ in range(IMAGES * SAMPLES // BLOCK):
            h = z
            for weight in weights:
                h = functional.linear(h, weight)

    return run


def nll_by_hand() -> Callable[[], None]:
    """The NLL under N(0, I), image by image, as one would write it down."""
    vae, x = model()
    prior = StandardNormal(LATENT)

    @torch.inference_mode()
    def run() -> None:
        for item in x.split(1):
            posterior = vae.encoder(item)
            z = posterior.sample(torch.randn(SAMPLES, 1, LATENT))
            torch.logsumexp(vae.log_likelihood(item, z) - prior.energy(z) - posterior.log_prob(z), 0)

    return run


def ais_grbm() -> Callable[[], None]:
    """AIS of a GRBM 64 x 64 from one base, 500 chains: a tenth of 1,000 temperatures."""
    torch.manual_seed(0)
    contender.as_worker()
    base = annealing.Base.uniform_hidden(GRBM(64, 64).requires_grad_(False).whitened())
    return lambda: void(ais.forward(base, 100, 500, stream(0, "forward")))


def ais_nll() -> Callable[[], None]:
    """AIS of log p(x), 30 images by 4 chains, 20 temperatures and the pilot: a ratio to the commit before."""
    vae, x = model()
    scored = subject(vae, x, StandardNormal(LATENT))
    return lambda: void(evidence.annealed(scored))


def void(result: object) -> None:
    """Forget the result."""
