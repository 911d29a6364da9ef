"""A classifier's ratio of aggregate posterior to noise, learned after the VAE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bench import objectives
from bench.energies.mlp import Mlp
from bench.protocol import TILT, Energy, Metric, Noise, Score
from bench.strategy import EnergyStrategy, StagedStrategy

if TYPE_CHECKING:
    from torch import Tensor

    from bench.training import Model
    from bench.vae import Posterior

DRAWS = 100_000
RATIO = Metric("mean_ratio", "1", "neither")  # E_{N(0, I)}[r], 1 at the classifier's optimum


class NoiseContrastive(StagedStrategy, EnergyStrategy):
    """Noise-contrastive prior: N(0, I) times the ratio r of a classifier, in two stages (Aneja et al., 2021).

    First a VAE with a N(0, I) prior is trained and frozen; then, for the same budget again, a classifier of q(z)
    against N(0, I). log p = log r + log N - log E_N[r]; the last term is estimated like any other log Z.
    """

    capturable: ClassVar = True
    reach: ClassVar = {"prior": frozenset({"classification"})}

    needs: ClassVar = frozenset({TILT})

    energy: Energy = Field(Mlp(hidden=200), description="the classifier; its tilt is -log r")

    def objective(self, model: Model, z: Tensor, posterior: Posterior, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """Yield the classifier's loss."""
        other = noise.normal(*z.shape)
        yield "classification", objectives.classification(-model.prior.tilt(z), -model.prior.tilt(other))

    def diagnostics(self, model: Model, latents: Tensor, scores: Sequence[Score], noise: Noise) -> Sequence[Score]:
        """Return also the mean ratio under N(0, I)."""
        ratio = (-model.prior.tilt(noise.normal(DRAWS, latents.shape[-1]))).double().exp()
        mean, error = float(ratio.mean()), float(ratio.std()) / DRAWS**0.5
        own = Score(RATIO, mean, DRAWS, "monte-carlo", error, 0.0, mean, mean)
        return (*super().diagnostics(model, latents, scores, noise), own)
