"""Whether Markov chains have forgotten where they began, and how many independent draws they are worth.

References:
    Gelman et al. (2013), Bayesian Data Analysis, section 11.4 (split R-hat).
    Geyer (1992), Practical Markov chain Monte Carlo, section 3.3 (where to cut the sum of autocorrelations).
"""

from __future__ import annotations

import torch
from torch import Tensor

R_HAT_MOST = 1e6  # stands for that or more: chains that stay where they began


def split_r_hat(chains: Tensor) -> Tensor:
    """Return the potential scale reduction of half chains, `(k,)`, for k quantities recorded as `(T, n, k)`.

    It is sqrt(V/W), with W the mean variance within half chains and V what the variance of all would be were they of
    one distribution: 1 where they have mixed, above where they have not, or still drift.
    """
    half = len(chains) // 2
    halves = torch.cat([chains[:half], chains[-half:]], 1).double()
    within, between = halves.var(0).mean(0), halves.mean(0).var(0)
    pooled = within * (half - 1) / half + between
    r_hat = torch.where(pooled == 0, 1.0, pooled / within).sqrt().clamp(max=R_HAT_MOST)
    return r_hat.nan_to_num(R_HAT_MOST)  # NaN where chains left the finite numbers


def effective_size(chains: Tensor) -> Tensor:
    """Return how many independent draws tell a mean as well, `(k,)`, for k quantities recorded as `(T, n, k)`.

    It is Tn/(1 + 2 sum of autocorrelations), of all chains together, and never above Tn; the sum ends before the first
    pair of neighbouring lags that is negative. 0 where chains left the finite numbers.
    """
    T, n, k = chains.shape
    chains = chains.double()
    centred = chains - chains.mean(0)
    spectrum = torch.fft.rfft(centred, 2 * T, dim=0).abs().square()
    covariance = (torch.fft.irfft(spectrum, 2 * T, dim=0)[:T] / T).mean(1)  # of lags 0 .. T - 1, `(T, k)`
    within = covariance[0] * T / (T - 1)
    pooled = covariance[0] + chains.mean(0).var(0)
    correlation = 1 - (within - covariance) / pooled
    correlation[0] = 1
    pairs = correlation[: T // 2 * 2].reshape(-1, 2, k).sum(1)
    kept = (pairs > 0).cumprod(0)
    time = 2 * (pairs * kept).sum(0) - 1
    size: Tensor = (T * n / time.clamp(min=1)).nan_to_num(0.0)
    return size
