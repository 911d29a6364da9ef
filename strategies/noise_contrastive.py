"""A classifier's ratio of aggregate posterior to noise, learned after the VAE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bench import objectives, priors
from bench.energies.mlp import Mlp
from bench.protocol import TILT, Energy, Metric, Noise, Run, Score, State, Task
from bench.strategy import EnergyStrategy

if TYPE_CHECKING:
    from torch import Tensor

    from bench.training import Batch, Model

DRAWS = 100_000
RATIO = Metric("mean_ratio", "1", "neither")  # E_{N(0, I)}[r], 1 at the classifier's optimum


class NoiseContrastive(EnergyStrategy):
    """Noise-contrastive prior: N(0, I) times the ratio r of a classifier, in two stages (Aneja et al., 2021).

    First a VAE with a N(0, I) prior is trained and frozen; then, for the same budget again, a classifier of q(z)
    against N(0, I). log p = log r + log N - log E_N[r]; the last term is estimated like any other log Z.
    """

    reach: ClassVar = {"prior": frozenset({"classification"})}

    needs: ClassVar = frozenset({TILT})

    energy: Energy = Field(Mlp(hidden=200), description="the classifier; its tilt is -log r")

    def losses(self, model: Model, batch: Batch) -> Iterator[tuple[str, Tensor]]:
        """Yield the first stage's loss: the bound under N(0, I)."""
        posterior = model.vae.encoder(batch.x)
        z = posterior.sample(batch.posterior.normal(*posterior.mean.shape))
        standard = priors.StandardNormal(z.shape[-1])
        yield "bound", objectives.negative_bound(model.vae, standard, batch.x, posterior, z)

    def classifier_losses(self, model: Model, batch: Batch) -> Iterator[tuple[str, Tensor]]:
        """Yield the second stage's loss."""
        import torch

        with torch.no_grad():
            posterior = model.vae.encoder(batch.x)
            z = posterior.sample(batch.posterior.normal(*posterior.mean.shape))
        noise = batch.prior.normal(*z.shape)
        yield "classification", objectives.classification(-model.prior.tilt(z), -model.prior.tilt(noise))

    def fit(self, task: Task, run: Run) -> State:
        """Train the VAE, then the classifier; each stage has its own checkpoint."""
        from bench.streams import stream
        from bench.training import energy_gap, guarded

        with guarded(run.device):
            model = self.model(task, run)
            first = {group: losses for group, losses in self.reach.items() if group != "prior"}
            vae = self.train(model, task, run, self.losses, first)
            then = {"prior": self.reach["prior"]}
            prior = self.train(
                model, task, replace(run, folder=run.folder / "classifier"), self.classifier_losses, then
            )
            noise = stream(run.seed, "prior", -2, run.device)
            gap = energy_gap(model.prior, prior["stability"]["energy_posterior"], noise)
        epochs = task.budget.epochs
        later = [{**row, "epoch": row["epoch"] + epochs, "step": row["step"] + vae["steps"]} for row in prior["curves"]]
        seconds = {name: value + vae["resources"][name] for name, value in prior["resources"].items()}
        return {
            "modules": prior["modules"],
            "steps": vae["steps"] + prior["steps"],
            "curves": vae["curves"] + later,
            "stability": vae["stability"] | prior["stability"] | gap,
            "resources": seconds | {"peak_device_bytes": prior["resources"]["peak_device_bytes"]},
        }

    def diagnostics(self, model: Model, latents: Tensor, scores: Sequence[Score], noise: Noise) -> Sequence[Score]:
        """Return also the mean ratio under N(0, I)."""
        ratio = (-model.prior.tilt(noise.normal(DRAWS, latents.shape[-1]))).double().exp()
        mean, error = float(ratio.mean()), float(ratio.std()) / DRAWS**0.5
        own = Score(RATIO, mean, DRAWS, "monte-carlo", error, 0.0, mean, mean)
        return (*super().diagnostics(model, latents, scores, noise), own)
