"""What every prior is: a density over z."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.protocol import Noise


class Density(nn.Module):
    """A prior with energy E(z) = -log p(z) - log Z, where log Z = 0 if `normalised`.

    Subclasses give `energy` and `sample`; those with closed forms override the derivatives, which come from autograd.
    """

    normalised: ClassVar[bool] = False

    def energy(self, z: Tensor) -> Tensor:
        """Return E(z), `(...)`, for z `(..., d)`."""
        raise NotImplementedError

    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return draws `(n, d)`."""
        raise NotImplementedError

    def gradient(self, z: Tensor, create_graph: bool = False) -> Tensor:
        """Return the gradient of E at z, `(..., d)`; with `create_graph`, differentiable in the parameters."""
        with torch.enable_grad():
            z = z if z.requires_grad else z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.energy(z).sum(), z, create_graph=create_graph)
        return gradient

    def curvature(self, z: Tensor, v: Tensor) -> Tensor:
        """Return v' (Hessian of E at z) v, `(...)`, for v `(..., d)`; differentiable in the parameters."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            along = (self.gradient(z, create_graph=True) * v).sum()
            (product,) = torch.autograd.grad(along, z, create_graph=True)
        return (product * v).sum(-1)

    def laplacian(self, z: Tensor) -> Tensor:
        """Return the trace of the Hessian of E at z, `(...)`; differentiable in the parameters."""
        basis = torch.eye(z.shape[-1], device=z.device, dtype=z.dtype)
        return torch.stack([self.curvature(z, v.expand_as(z)) for v in basis]).sum(0)

    def diagnostics(self) -> dict[str, Tensor]:
        """Return scalars that tell how the parameters fare, by name."""
        return {}
