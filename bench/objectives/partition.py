"""The partition function within the bound, by importance sampling from the posterior (paper section 2.1).

Eq. 6 is called unbiased in the paper. It is a ratio of estimates, hence biased: it may train a model and must never
score one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_mean_exp(x: Tensor) -> Tensor:
    """Return log of the mean of exp(x) over the first axis, `(...)`, for x `(K, ...)`."""
    return torch.logsumexp(x, 0) - math.log(len(x))


def importance_bound(log_likelihood: Tensor, log_ratio: Tensor, log_z: Tensor) -> Tensor:
    """Return Eq. 5: E_q[log p(x|z) - E(z) - log q(z|x)] - ln Z, averaged over items.

    Args:
        log_likelihood: log p(x|z), `(K, B)`.
        log_ratio: -E(z) - log q(z|x), `(K, B)`.
        log_z: ln Z by importance sampling, `(B,)` or a scalar.
    """
    return ((log_likelihood + log_ratio).mean(0) - log_z).mean()


def importance_likelihood(log_likelihood: Tensor, log_ratio: Tensor, log_z: Tensor) -> Tensor:
    """Return Eq. 6: the log of a ratio of two importance-weighted means, averaged over items; shapes as above."""
    return (log_mean_exp(log_likelihood + log_ratio) - log_z).mean()
