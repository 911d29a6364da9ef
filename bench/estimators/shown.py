"""What a report draws of a model: images that it makes, and where its z lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from bench.protocol import Pixels
from bench.vae.autoencoder import VAE

SHOWN = 64  # images of a kind
POINTS = 1000  # z of a kind

Draw = Callable[[int], Mapping[str, Tensor]]


@torch.no_grad()
def drawings(
    vae: VAE, dataset: object, items: Tensor, shape: Sequence[int], latents: Tensor, draw: Draw
) -> dict[str, np.ndarray]:
    """Return the arrays of pictures, float32.

    `samples_NAME` `(n, *shape)` are means of p(x|z) at z by the sampler NAME, `items` and `reconstructions` the first
    items scored and their means of p(x|z) at the mean of q(z|x). `latents_posterior` and `latents_NAME` `(m, 2)` are
    samples of the aggregate posterior and of the sampler in the plane in which the first vary most, centred on their
    mean (the axes themselves where z has at most two); `latents_share` is that plane's share of their variance.

    Args:
        vae: of the model.
        dataset: of the items.
        items: those scored, prepared, `(N, D)`.
        shape: of a stored item.
        latents: samples of the aggregate posterior, `(K, d)`.
        draw: how many z -> the name of a sampler -> so many by it, `(n, d)`.
    """
    drawn, axes, share = draw(POINTS), *plane(latents)
    centre = latents.double().mean(0)
    arrays = {f"samples_{name}": pictures(dataset, vae.decoder.mean(z[:SHOWN]), shape) for name, z in drawn.items()}
    arrays["items"] = pictures(dataset, items[:SHOWN], shape)
    arrays["reconstructions"] = pictures(dataset, vae.decoder.mean(vae.encoder(items[:SHOWN]).mean), shape)
    for name, z in {"posterior": latents[:POINTS], **drawn}.items():
        arrays[f"latents_{name}"] = ((z.double() - centre) @ axes).float().cpu().numpy()
    return arrays | {"latents_share": np.array(share, np.float32)}


def plane(z: Tensor) -> tuple[Tensor, float]:
    """Return the axes `(d, 2)` in which z `(n, d)` vary most, the first most of all, and their share of its variance.

    Where d is at most 2 they are those of z. An axis points to where its largest number is above 0. float64.
    """
    z = z.double()
    if z.shape[1] <= 2:
        return torch.eye(z.shape[1], dtype=z.dtype, device=z.device), 1.0
    variances, axes = torch.linalg.eigh(torch.cov(z.T, correction=0))
    axes = axes[:, -2:].flip(1)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    total = float(variances.sum())
    return axes * largest.sign(), float(variances[-2:].sum()) / total if total > 0 else 1.0


def pictures(dataset: object, x: Tensor, shape: Sequence[int]) -> np.ndarray:
    """Return prepared items x `(n, D)` as they are stored, `(n, *shape)` float32; pixels by brightness, 0 .. 1."""
    shown = dataset.brightness(x) if isinstance(dataset, Pixels) else x
    return shown.reshape(-1, *shape).float().cpu().numpy()
