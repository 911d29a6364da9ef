"""Likelihoods p(x|z): what a decoder's output means."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.protocol import Likelihood as Word
from bench.protocol import Noise, UserError

FLOOR = -6.0  # of the log of a calibrated scale
_FACTORS = 4  # of a product of 1 + e^a: float32 holds it where the mean of a's positive parts is below 22


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

    def log_prob_of(self, x: Tensor, features: Tensor, head: nn.Linear) -> Tensor:
        """Return log p(x|z) where the parameters are `head(features)`, `(..., B)`; no gradient is recorded.

        A likelihood that has this more cheaply than by its parameters overrides it.

        Args:
            x: `(B, D)`.
            features: what a decoder's last layer reads, `(..., B, F)`.
            head: that layer.
        """
        return self.log_prob(x, head(features))

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
        return (x * parameters).sum(-1) - functional.softplus(parameters).sum(-1)

    def log_prob_of(self, x: Tensor, features: Tensor, head: nn.Linear) -> Tensor:
        """Return log p(x|z) of logits a = Wh + b as h'(W'x) + b'x - sum softplus(a): x meets no array of logits."""
        softplus = _softplus_sum_(head(features))
        if not bool(softplus.isfinite().all()):
            return super().log_prob_of(x, features, head)
        linear = (features * (x @ head.weight)).sum(-1)
        return linear - softplus if head.bias is None else linear + x @ head.bias - softplus

    def mean(self, parameters: Tensor) -> Tensor:
        """Return E[x|z], the shape of `parameters`."""
        return torch.sigmoid(parameters)

    def sample(self, parameters: Tensor, noise: Noise) -> Tensor:
        """Return x ~ p(x|z), zeros and ones in the shape of `parameters`."""
        # half a step up, a uniform of 24 bits is never 0, which would turn on a pixel of probability 1e-20
        uniform = noise.uniform(*parameters.shape).double() + 2.0**-25
        return (uniform < torch.sigmoid(parameters.double())).to(parameters.dtype)


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


def _softplus_sum_(a: Tensor) -> Tensor:
    """Return the sum of softplus(a) over the last axis, `(...)`, for a `(..., D)`, which is overwritten.

    A logarithm is taken of `_FACTORS` of 1 + e^a at a time. A term differs from softplus(a) by roundings of 1 and of
    the product, some 1e-7 in float32. Where a product overflows, the sum is infinite or NaN.
    """
    width = a.shape[-1] // _FACTORS
    first, *others, rest = a.exp_().split([*[width] * _FACTORS, a.shape[-1] - _FACTORS * width], -1)
    product = first.add_(1)
    for other in others:
        product.addcmul_(product, other)
    return product.log_().sum(-1) + rest.log1p_().sum(-1)


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
