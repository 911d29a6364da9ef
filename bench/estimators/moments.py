"""Mean and covariance of samples, by eigenvectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """A mean m and a covariance G = Q diag(v) Q'.

    Attributes:
        mean: m, `(d,)`, float64.
        rotation: eigenvectors Q in columns, `(d, d)`.
        variance: eigenvalues v, `(d,)`.
    """

    mean: Tensor
    rotation: Tensor
    variance: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, z: Tensor) -> Moments:
        """Return the moments of z `(M, d)`, the covariance shrunk towards I with the weight of d samples in M + d.

        So few or degenerate samples are usable as well; 1 is the scale on which latent variables live.
        """
        samples, d = z.shape
        mean = z.double().mean(0)
        centred = z.double() - mean
        eye = torch.eye(d, dtype=torch.float64, device=z.device)
        variance, rotation = torch.linalg.eigh((centred.T @ centred + d * eye) / (samples + d))
        return cls(mean, rotation, variance)

    def colour(self, x: Tensor) -> Tensor:
        """Return z `(n, d)` for x `(n, d)`; x ~ N(0, I) has these moments."""
        return self.mean + (x * self.variance.sqrt()) @ self.rotation.T

    @property
    def log_scale(self) -> float:
        """Log of the determinant of `colour`."""
        return 0.5 * float(self.variance.log().sum())
