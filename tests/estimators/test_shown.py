from __future__ import annotations

import math

import numpy as np
import torch

from bench.estimators.shown import POINTS, SHOWN, drawings, plane
from bench.networks.mlp import Mlp
from bench.protocol import Networks
from bench.vae import VAE, decoder, encoder


def test_the_plane_is_that_of_the_two_widest_axes() -> None:
    """z with standard deviations 3, 2 and 1 along the columns of a rotation: these are found, and 13/14 of variance."""
    torch.manual_seed(0)
    n = 200_000
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    scales = torch.tensor([2.0, 1.0, 3.0], dtype=torch.float64)
    axes, share = plane(7 + (torch.randn(n, 3, dtype=torch.float64) * scales) @ rotation.T)
    # an axis is off by about the noise of a covariance over the gap of variances: s t/(s^2 - t^2)/sqrt(n)
    assert float((rotation[:, 2] @ axes[:, 0]).abs()) > 1 - (6 / 5) ** 2 * 8 / n
    assert float((rotation[:, 0] @ axes[:, 1]).abs()) > 1 - ((6 / 5) ** 2 + (2 / 3) ** 2) * 8 / n
    assert abs(share - 13 / 14) < 4 * math.sqrt(2 / n)
    assert bool((axes.gather(0, axes.abs().argmax(0, keepdim=True)) > 0).all())


def test_two_dimensions_are_drawn_as_they_are_and_what_does_not_vary_is_no_error() -> None:
    for d in (1, 2):
        axes, share = plane(torch.randn(5, d))
        assert torch.equal(axes, torch.eye(d, dtype=torch.float64))
        assert share == 1
    for still in (torch.zeros(5, 3), torch.randn(1, 3)):
        axes, share = plane(still)
        assert axes.shape == (3, 2)
        assert share == 1


def test_drawings_are_items_what_the_model_makes_of_them_and_z_in_one_plane() -> None:
    torch.manual_seed(0)
    networks = Networks(encoder=Mlp(hidden=[8]), decoder=Mlp(hidden=[8]), latent=3)
    vae = VAE(encoder(networks, (2, 3)), decoder(networks, (2, 3), "bernoulli")).eval()
    items, latents = (torch.rand(100, 6) < 0.5).float(), torch.randn(5000, 3) + 5
    drawn = torch.randn(POINTS, 3)
    arrays = drawings(vae, None, items, (2, 3), latents, lambda n: {"prior": drawn[:n]})
    assert {array.dtype for array in arrays.values()} == {np.dtype("float32")}
    assert np.array_equal(arrays["items"], items[:SHOWN].reshape(-1, 2, 3))
    with torch.no_grad():
        means = torch.sigmoid(vae.decoder(vae.encoder(items[:SHOWN]).mean)).reshape(-1, 2, 3)
    np.testing.assert_allclose(arrays["reconstructions"], means, rtol=1e-6)
    assert arrays["samples_prior"].shape == (SHOWN, 2, 3)
    # centred on the posterior's mean, which N(0, I) is then 5 away from on every axis
    axes, share = plane(latents)
    assert arrays["latents_share"] == np.float32(share)
    np.testing.assert_allclose(
        arrays["latents_posterior"], (latents[:POINTS] - latents.mean(0)).double() @ axes, atol=1e-4
    )
    np.testing.assert_allclose(arrays["latents_prior"], (drawn - latents.mean(0)).double() @ axes, atol=1e-4)
