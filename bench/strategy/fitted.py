"""A trained model as its user handles it: arrays in, arrays out."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.protocol import Evaluation, Noise, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor

    from bench.priors import Density
    from bench.protocol import Dataset
    from bench.training import Model
    from bench.vae import VAE

    Array = np.ndarray | Tensor

__all__ = ["Encoded", "Fitted"]


class Encoded(NamedTuple):
    """q(z|x) of N items: its mean and standard deviation, `(N, d)` each."""

    mean: Any
    std: Any


class Fitted:
    """A trained VAE with its prior: what was scored.

    Items x are numpy arrays or tensors, either as the data set stores them, `(N, ...)`, which are then prepared as test
    items are, or as it prepares them, `(N, D)` floats. Results are tensors where a tensor came in, else numpy arrays.

    Args:
        model: the networks and the prior, in evaluation mode.
        dataset: prepares items.
        stored: an array of the data set as it is stored; its item's shape and type count.
        latent: the dimension d of z.
        log_z: log Z of the prior as it was estimated, for a prior that does not know it itself.

    Attributes:
        vae: encoder and decoder, torch modules.
        prior: the density over z, a torch module.
        log_z: log Z of the prior: 0 of one that is normalised, else exact or as estimated; None where nothing is known.
    """

    def __init__(self, model: Model, dataset: Dataset, stored: np.ndarray, latent: int, log_z: float | None) -> None:
        self.vae: VAE = model.vae
        self.prior: Density = model.prior
        exact = self.prior.exact_log_z()
        self.log_z = log_z if exact is None else float(exact)
        self.latent = latent
        self._dataset, self._type = dataset, stored.dtype
        self._shape: Sequence[int] = stored.shape[1:]
        self._device = next(model.vae.parameters()).device

    def __repr__(self) -> str:
        """Name the data set, its items, the dimension of z and the prior."""
        items = f"{'x'.join(map(str, self._shape))} items of {self._dataset.name}"
        return f"Fitted({items}, prior {type(self.prior).__name__})"

    def encode(self, x: Array) -> Encoded:
        """Return mean and standard deviation of q(z|x), `(N, d)` each."""
        import torch

        with torch.inference_mode():
            posterior = self.vae.encoder(self._prepared(x))
        return Encoded(_like(x, posterior.mean), _like(x, posterior.log_std.exp()))

    def decode(self, z: Array) -> Array:
        """Return E[x|z] as pictures or points, `(N, ...)` in the shape of an item, for z `(N, d)`."""
        import torch

        with torch.inference_mode():
            shown: Array = _like(z, self._shown(self.vae.decoder.mean(self._codes(z))))
        return shown

    def reconstruct(self, x: Array) -> Array:
        """Return E[x|z] at the mean of q(z|x), in the shape of an item."""
        return self.decode(self.encode(x).mean)

    def sample_prior(self, n: int, seed: int = 0) -> np.ndarray:
        """Return draws z `(n, d)` of the prior."""
        import torch

        n = _whole("n", n, 1)
        with torch.no_grad():
            return _array(self.prior.sample(n, self._noise(seed, "prior")))

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Return draws x ~ p(x|z), z ~ p(z), in the shape of an item; `decode` shows the mean of p(x|z) instead."""
        import torch

        n = _whole("n", n, 1)
        with torch.no_grad():
            z = self.prior.sample(n, self._noise(seed, "prior"))
            return _array(self._shown(self.vae.sample(z, self._noise(seed, "items"))))

    def log_prob(self, x: Array, samples: int = 1000, seed: int = 0) -> Array:
        """Return an estimate of log p(x), `(N,)`, nats, of prepared items: importance-weighted, too low in expectation.

        Raises:
            UserError: log Z of the prior is not known, or a Bernoulli likelihood is asked about grey pixels.
        """
        import torch

        from bench.estimators import Subject
        from bench.estimators.bounds import importance

        samples = _whole("samples", samples, 1)
        if not self.prior.has_density:
            raise UserError("log p(x) needs a density over z, and this prior can only be sampled")
        if self.log_z is None:
            raise UserError("log p(x) needs log Z of the prior, which was not scored")
        prepared = self._prepared(x)
        if self._dataset.likelihood == "bernoulli" and not bool(((prepared == 0) | (prepared == 1)).all()):
            raise UserError("a Bernoulli likelihood is one of zeros and ones, and x has other values")
        evaluation = Evaluation(importance_samples=samples)
        noise = self._noise(seed, "importance")
        subject = Subject(self.vae, self.prior, prepared, prepared, evaluation, lambda name: noise)
        weighted = importance(subject)
        estimates: Array = _like(x, torch.from_numpy(-weighted.nll.values - self.log_z))
        return estimates

    # ---------------------------------------------------------------- arrays

    def _noise(self, seed: int, name: str) -> Noise:
        from bench.streams import stream

        return stream(_whole("seed", seed, 0), f"fitted/{name}", 0, self._device)

    def _codes(self, z: Any) -> Tensor:
        import torch

        tensor = _tensor(z, "z")
        if tensor.ndim != 2 or tensor.shape[1] != self.latent:
            raise UserError(f"z is {_kind(tensor)}; it must be (N, {self.latent}) floats")
        return tensor.to(self._device, torch.float32)

    def _prepared(self, x: Any) -> Tensor:
        """Return items `(N, D)` as the likelihood scores them."""
        import numpy as np
        import torch

        tensor = _tensor(x, "x")
        stored = torch.from_numpy(np.empty(0, self._type)).dtype
        if tuple(tensor.shape[1:]) == tuple(self._shape) and tensor.dtype == stored:
            return self._dataset.fixed(tensor).to(self._device)
        if tensor.ndim == 2 and tensor.shape[1] == math.prod(self._shape) and tensor.is_floating_point():
            low, high = self.vae.decoder.likelihood.bounds or (-math.inf, math.inf)
            if not bool(((tensor >= low) & (tensor <= high)).all()):
                raise UserError(f"x has values outside of {low:g} to {high:g}, in which prepared items lie")
            return tensor.to(self._device, torch.float32)
        wanted = f"(N, {', '.join(map(str, self._shape))}) {np.dtype(self._type).name}, as the data set stores items"
        raise UserError(
            f"x is {_kind(tensor)}; it must be {wanted}, or (N, {math.prod(self._shape)}) floats as prepared"
        )

    def _shown(self, x: Tensor) -> Tensor:
        """Return prepared items `(n, D)` as pictures by brightness, or as points, in the shape of an item."""
        import torch

        from bench.estimators import pictures

        return torch.from_numpy(pictures(self._dataset, x, self._shape))


def _array(x: Tensor) -> np.ndarray:
    array: np.ndarray = x.detach().cpu().numpy()
    return array


def _like(x: Any, result: Tensor) -> Any:
    """Return a tensor where one came in as x, else a numpy array."""
    import torch

    return result.detach() if isinstance(x, torch.Tensor) else _array(result)


def _tensor(x: Any, name: str) -> Tensor:
    """Return x as a tensor.

    Raises:
        UserError: it is no array of numbers, or one of them is not finite.
    """
    import numpy as np
    import torch

    try:
        tensor = x if isinstance(x, torch.Tensor) else torch.from_numpy(np.array(x))
    except (TypeError, ValueError):
        raise UserError(f"{name} is a {type(x).__name__} that is no array of numbers") from None
    if tensor.ndim and tensor.numel() and not bool((finite := tensor.isfinite().reshape(len(tensor), -1).all(1)).all()):
        raise UserError(f"{name}[{int(finite.int().argmin())}] has a number that is not finite")
    return tensor


def _kind(x: Tensor) -> str:
    return f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}"


def _whole(name: str, number: Any, least: int) -> int:
    """Return a whole number, of Python or of an array.

    Raises:
        UserError: it is none, or below `least`.
    """
    if isinstance(number, bool) or not hasattr(number, "__index__") or operator.index(number) < least:
        raise UserError(f"{name} is {number!r}; it must be a whole number, at least {least}")
    return operator.index(number)
