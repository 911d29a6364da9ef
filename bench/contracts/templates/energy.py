"""N(0, I) with smooth bumps and dents: an example to change into your own energy."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bench.protocol import TILT, Energy

# torch is imported for type checkers only, or inside a method, so that `bench list` stays quick
if TYPE_CHECKING:
    from bench.priors import Density


class Example(Energy):
    """N(0, I) times exp(-f(z)) with f(z) = a'tanh(Bz + c), which is bounded: it always has an integral."""

    name: ClassVar[str]  # set by bench, from the file
    # what some strategies need: `tilted` and `noise-contrastive` take what tilts N(0, I)
    offers: ClassVar[frozenset[str]] = frozenset({TILT})

    # an option: its type, its default, its bounds and what it means
    hidden: int = Field(32, ge=1, le=65536, description="number of bumps and dents")

    def build(self, latent: int) -> Density:
        """Return a fresh density over z `(..., latent)`; torch's global generator is seeded."""
        import torch
        from torch import Tensor, nn

        from bench.priors import Density
        from bench.protocol import Noise
        from bench.samplers import langevin

        class Bumps(Density):
            """E(z) = a'tanh(Bz + c) + |z|^2/2. Derivatives come from autograd, log Z from annealing."""

            def __init__(self, hidden: int) -> None:
                super().__init__()
                self.inner, self.outer = nn.Linear(latent, hidden), nn.Linear(hidden, 1, bias=False)

            def energy(self, z: Tensor) -> Tensor:
                """Return E(z), `(...)`, for z `(..., d)`."""
                f: Tensor = self.outer(torch.tanh(self.inner(z))).squeeze(-1)
                return f + 0.5 * z.square().sum(-1)

            @torch.no_grad()
            def sample(self, n: int, noise: Noise) -> Tensor:
                """Return draws `(n, d)`: Metropolis-adjusted Langevin steps from N(0, I)."""
                return langevin(self, noise.normal(n, latent), 1000, 0.05, noise, adjust=True)[0]

        return Bumps(self.hidden)
