"""Score matching: fit an energy to samples without its partition function.

Paper Algorithm 1, line 5, prints the Hessian term with the sign that belongs to a log density. For an *energy* E, whose
score is -grad E, the Hessian enters with a minus; as printed, even a one-dimensional Gaussian fit diverges.

References:
    Song et al. (2020), Sliced score matching, Eqs. 8 and 9.
    Hyvarinen (2005), Estimation of non-normalized statistical models by score matching.
"""

from __future__ import annotations

from torch import Tensor

from bench.priors.density import Density


def sliced(prior: Density, z: Tensor, v: Tensor) -> Tensor:
    """Return mean_z [ -v'(Hessian)v + 1/2 (v'grad E)^2 ]: one random projection an item.

    Args:
        prior: gives E.
        z: samples of the target, detached, `(B, d)`.
        v: directions with E[vv'] = I, `(B, d)`.
    """
    along = (prior.gradient(z, create_graph=True) * v).sum(-1)
    return (0.5 * along.square() - prior.curvature(z, v)).mean()


def sliced_variance_reduced(prior: Density, z: Tensor, v: Tensor) -> Tensor:
    """Return mean_z [ -v'(Hessian)v + 1/2 ||grad E||^2 ]: `sliced` with E_v (v'grad E)^2 in closed form."""
    gradient = prior.gradient(z, create_graph=True)
    return (0.5 * gradient.square().sum(-1) - prior.curvature(z, v)).mean()


def exact(prior: Density, z: Tensor) -> Tensor:
    """Return mean_z [ -tr(Hessian) + 1/2 ||grad E||^2 ]: no projection."""
    gradient = prior.gradient(z, create_graph=True)
    return (0.5 * gradient.square().sum(-1) - prior.laplacian(z)).mean()
