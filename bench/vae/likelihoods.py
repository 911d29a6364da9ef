"""Likelihoods p(x|z): what a decoder's output means."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
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

    def reader(self, x: Tensor, head: nn.Linear) -> Callable[[Tensor], Tensor]:
        """Return how log p(x|z), `(..., B)`, follows from features `(..., B, F)` where parameters are `head(features)`.

        x `(B, D)` and the layer stand still meanwhile: a gradient reaches the features alone. A likelihood that has
        this more cheaply than by its parameters overrides it.
        """
        return lambda features: self.log_prob(x, head(features))

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
        value: Tensor = _OfPixels.apply(x, parameters)  # type: ignore[no-untyped-call]
        return value

    def reader(self, x: Tensor, head: nn.Linear) -> Callable[[Tensor], Tensor]:
        """Return how log p(x|z) follows from features: without the product of x and logits, and with few logarithms."""
        return _Pixels(x, head)

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
    def backward(ctx: Any, slope: Tensor) -> tuple[None, Tensor]:
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


class _Pixels:
    """Features h `(..., B, F)` -> log p(x|z) of pixels with logits a = Wh + b, as h'(W'x) + b'x - sum softplus(a)."""

    @torch.no_grad()
    def __init__(self, x: Tensor, head: nn.Linear) -> None:
        self.x, self.weight = x, head.weight.detach()
        self.bias = x.new_zeros(len(self.weight)) if head.bias is None else head.bias.detach()
        self.slope, self.constant = x @ self.weight, x @ self.bias

    def __call__(self, features: Tensor) -> Tensor:
        """Return log p(x|z), `(..., B)`."""
        if torch.is_grad_enabled() and features.requires_grad:
            value: Tensor = _Differentiable.apply(features, self)  # type: ignore[no-untyped-call]
            return value
        return self.value(features, _softplus_sum_(self.logits(features)))

    def logits(self, features: Tensor) -> Tensor:
        """Return a, `(..., B, D)`."""
        return functional.linear(features, self.weight, self.bias)

    def value(self, features: Tensor, softplus: Tensor) -> Tensor:
        """Return log p(x|z) by the sum of softplus(a), `(..., B)`, or without it where that is not finite."""
        if bool(softplus.isfinite().all()):
            linear: Tensor = (features * self.slope).sum(-1) + self.constant
            return linear - softplus
        return Bernoulli().log_prob(self.x, self.logits(features))


class _Differentiable(torch.autograd.Function):
    """What `_Pixels` gives, with its gradient in h, W'(x - sigmoid(a))."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, pixels: _Pixels) -> Tensor:
        factors = pixels.logits(features).exp_().add_(1)
        *groups, rest = factors.split(_widths(factors.shape[-1]), -1)
        value = pixels.value(features, math.prod(groups[1:], start=groups[0]).log_().sum(-1) + rest.log().sum(-1))
        # x - sigmoid(a) is x - 1 + 1/(1 + e^a), also where e^a overflows
        ctx.residual, ctx.weight = factors.reciprocal_().add_(pixels.x - 1), pixels.weight
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return (ctx.residual @ ctx.weight).mul_(gradient[..., None]), None


def _softplus_sum_(a: Tensor) -> Tensor:
    """Return the sum of softplus(a) over the last axis, `(...)`, for a `(..., D)`, which is overwritten.

    A logarithm is taken of `_FACTORS` of 1 + e^a at a time. A term differs from softplus(a) by roundings of 1 and of
    the product, some 1e-7 in float32. Where a product overflows, the sum is infinite or NaN.
    """
    first, *others, rest = a.exp_().split(_widths(a.shape[-1]), -1)
    product = first.add_(1)
    for other in others:
        product.addcmul_(product, other)
    total: Tensor = product.log_().sum(-1) + rest.log1p_().sum(-1)
    return total


def _widths(pixels: int) -> list[int]:
    """Return the widths of `_FACTORS` equal parts of an axis, and of what is left of it."""
    return [pixels // _FACTORS] * _FACTORS + [pixels % _FACTORS]


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
