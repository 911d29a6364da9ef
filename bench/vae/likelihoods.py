"""Likelihoods p(x|z): what a decoder's output means."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.protocol import Likelihood as Word
from bench.protocol import Noise, UserError

FLOOR = -6.0  # of the log of a calibrated scale


class Likelihood(nn.Module):
    """p(x|z) of flat items, whose parameters, as many as x has numbers, a decoder gives. A data set may bring its own.

    Attributes:
        bounds: the range in which every number of x lies, or None.
        binary: whether each is one of those two ends.
    """

    bounds: ClassVar[tuple[float, float] | None] = None
    binary: ClassVar[bool] = False

    def log_prob(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Return log p(x|z), `(..., B)`, nats, for x `(B, D)` and parameters `(..., B, D)`."""
        raise NotImplementedError

    def mean(self, parameters: Tensor) -> Tensor:
        """Return E[x|z], the shape of `parameters`."""
        raise NotImplementedError

    def sample(self, parameters: Tensor, noise: Noise) -> Tensor:
        """Return x ~ p(x|z), the shape of `parameters`, drawn from `noise` alone."""
        raise NotImplementedError


class Bernoulli(Likelihood):
    """Independent binary pixels; the decoder gives logits."""

    bounds = (0.0, 1.0)
    binary = True

    def log_prob(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Return log p(x|z).

        Args:
            x: zeros and ones, `(B, D)`.
            parameters: logits, `(..., B, D)`.

        Returns:
            `(..., B)`, nats.
        """
        if x.requires_grad or not parameters.requires_grad:
            return _of_pixels(x, parameters)
        value: Tensor = _OfPixels.apply(x, parameters)
        return value

    def mean(self, parameters: Tensor) -> Tensor:
        """Return E[x|z], the shape of `parameters`."""
        return torch.sigmoid(parameters)

    def sample(self, parameters: Tensor, noise: Noise) -> Tensor:
        """Return x ~ p(x|z), zeros and ones in the shape of `parameters`."""
        # half a step up, a uniform of 24 bits is never 0, which would turn on a pixel of probability 1e-20
        uniform = noise.uniform(*parameters.shape).double() + 2.0**-25
        return (uniform < torch.sigmoid(parameters.double())).to(parameters.dtype)


def _of_pixels(x: Tensor, logits: Tensor) -> Tensor:
    return (x * logits).sum(-1) - functional.softplus(logits).sum(-1)


class _OfPixels(torch.autograd.Function):
    """`_of_pixels` with its derivative in the logits, x - sigmoid(logits), in closed form: fewer passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, logits: Tensor) -> Tensor:
        ctx.save_for_backward(x, logits)
        return _of_pixels(x, logits)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[None, Tensor]:  # type: ignore[override]
        x, logits = ctx.saved_tensors
        return None, (x - torch.sigmoid(logits)) * slope.unsqueeze(-1)


class Gaussian(Likelihood):
    """Independent normal coordinates around the decoder's output, with one learned log standard deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.log_std = nn.Parameter(torch.zeros(()))

    def log_prob(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Return log p(x|z), `(..., B)`, nats, for x `(B, D)` and means `(..., B, D)`."""
        squares = ((x - parameters) * torch.exp(-self.log_std)).square().sum(-1)
        return -0.5 * squares - x.shape[-1] * (self.log_std + 0.5 * math.log(2 * math.pi))

    def mean(self, parameters: Tensor) -> Tensor:
        """Return E[x|z]: `parameters` themselves."""
        return parameters

    def sample(self, parameters: Tensor, noise: Noise) -> Tensor:
        """Return x ~ p(x|z) in the shape of the means `parameters`."""
        return parameters + torch.exp(self.log_std) * noise.normal(*parameters.shape)


class Laplace(Likelihood):
    """Independent Laplace coordinates around the decoder's output, with one calibrated scale (Rybkin et al., 2021).

    The scale b that makes x likeliest is the mean of |x - m| over items and coordinates. In training mode it is that of
    the batch. A test batch's own would leak what is tested into the model, so that in evaluation mode it is the one
    that `freeze` was told, from training data; before that it is 1.

    Attributes:
        log_scale: log b, frozen; part of the decoder's state.
    """

    log_scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("log_scale", torch.zeros(()))

    def log_prob(self, x: Tensor, parameters: Tensor) -> Tensor:
        """Return log p(x|z), `(..., B)`, nats, for x `(B, D)` and medians m `(..., B, D)`."""
        distances = (x - parameters).abs()
        log_scale = _clipped(distances.mean()) if self.training else self.log_scale
        return -distances.sum(-1) * torch.exp(-log_scale) - x.shape[-1] * (log_scale + math.log(2))

    def mean(self, parameters: Tensor) -> Tensor:
        """Return E[x|z]: `parameters` themselves."""
        return parameters

    def sample(self, parameters: Tensor, noise: Noise) -> Tensor:
        """Draw x by the frozen scale, the shape of `parameters`."""
        # an exponential draw with a random sign; a uniform one is never 1
        sizes = -torch.log1p(-noise.uniform(*parameters.shape))
        return parameters + torch.exp(self.log_scale) * noise.rademacher(*parameters.shape) * sizes

    def freeze(self, distance: Tensor) -> None:
        """Set the scale of evaluation to `distance`, the mean of |x - m| over training data, a scalar."""
        self.log_scale.copy_(_clipped(distance))


def _clipped(scale: Tensor) -> Tensor:
    """Return log b, softly kept above `FLOOR`, below which a likelihood without bound would run away."""
    return FLOOR + functional.softplus(scale.log() - FLOOR)


LIKELIHOODS: dict[str, type[Likelihood]] = {"bernoulli": Bernoulli, "gaussian": Gaussian, "laplace": Laplace}


def likelihood(of: Word) -> Likelihood:
    """Return a fresh likelihood: that of a word, or what a data set's own class or function gives.

    Raises:
        UserError: it does not extend `Likelihood`.
    """
    made = LIKELIHOODS[of]() if isinstance(of, str) else of()
    if not isinstance(made, Likelihood):
        raise UserError(f"a data set's likelihood is a {type(made).__name__}; it must extend bench.vae.Likelihood")
    return made
