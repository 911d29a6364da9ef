"""Likelihoods and the variational autoencoder."""

from typing import TYPE_CHECKING

from bench import lazy_members

if TYPE_CHECKING:
    from bench.vae.autoencoder import VAE, Decoder, Encoder, Posterior, decoder, encoder
    from bench.vae.likelihoods import Bernoulli, Gaussian, Laplace, Likelihood

__all__ = [
    "VAE",
    "Bernoulli",
    "Decoder",
    "Encoder",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "Posterior",
    "decoder",
    "encoder",
]

__getattr__ = lazy_members(__name__, __file__)
