"""Densities of the pixels themselves: what a score in bits per dimension is worth is seen beside them.

They have no latent variables, hence no prior, and extend `PixelDensity` instead of `bench.strategy.Strategy`. Nothing
here imports torch until one of them is used.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from bench.protocol import Noise, Pixels, Run, Scores, Settings, State, Task

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PixelDensity"]

BLOCK = 1024  # images at a time


class PixelDensity(Settings):
    """A density of prepared images, fitted in closed form and scored exactly.

    It overrides `evaluate` because there is no bound to estimate: its scores of the bound and of the likelihood are one
    number.
    """

    name: ClassVar[str] = ""

    def skip(self, task: Task) -> str | None:
        """Say so where scores are not in bits per dimension."""
        if isinstance(task.dataset, Pixels):
            return None
        return f"it is a density of dequantised pixels, and {task.dataset.name} is not scored in bits per dimension"

    @abstractmethod
    def parameters(self, task: Task, run: Run) -> dict[str, Tensor]:
        """Return what is fitted to the training images."""

    @abstractmethod
    def log_prob(self, dataset: Pixels, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Return the log density, `(B,)` float64, nats, of prepared x `(B, D)` on the device of the parameters."""

    def sample(self, task: Task, parameters: Mapping[str, Tensor], n: int, noise: Noise) -> Tensor | None:
        """Return independent draws as prepared, `(n, D)`; None where there are none, and so no scores of samples."""
        return None

    def fit(self, task: Task, run: Run) -> State:
        """Fit the density.

        Raises:
            OutOfMemory: the device's memory does not suffice.
            Stopped: the run was asked to stop; there is nothing to save.
        """
        import torch

        from bench.training import guarded

        with guarded(run.device), torch.no_grad():
            modules = {"density": self.parameters(task, run)}
        return {"modules": modules, "steps": 1, "curves": [], "stability": {}, "resources": {}}

    def evaluate(self, state: State, task: Task, run: Run) -> Scores:
        """Score the images of the evaluation's split exactly, and draws where there are some.

        Raises:
            OutOfMemory: the device's memory does not suffice.
        """
        import torch

        from bench.estimators.bits import exact_bits
        from bench.estimators.distances import MOST, compare
        from bench.streams import Stream, stream
        from bench.training import guarded
        from bench.training.model import LATENTS

        def noise_for(name: str) -> Stream:
            return stream(task.evaluation.seed, f"evaluate/{run.seed}/{name}", 0, run.device)

        assert isinstance(task.dataset, Pixels), "other data sets are skipped"
        parameters = {name: tensor.to(run.device) for name, tensor in state["modules"]["density"].items()}
        with guarded(run.device), torch.no_grad():
            test = task.dataset.fixed(torch.from_numpy(task.scored)).to(run.device)
            log_prob = torch.cat([self.log_prob(task.dataset, parameters, x) for x in test.split(BLOCK)])
            exact = exact_bits(task.dataset, test, log_prob)
            # prepared as where a VAE is scored, so that both are compared with the same training items
            stored = torch.from_numpy(task.splits.train[:LATENTS]).to(run.device)
            train = task.dataset.prepare(stored, noise_for("latents"))
            noise = noise_for("distances/items")
            draws = self.sample(task, parameters, min(len(test), MOST), noise)
            if draws is None:
                return exact
            along = noise_for("distances/directions")
            return replace(
                exact, scores=[*exact.scores, *compare(draws, test, train, task.dataset, along, "monte-carlo")]
            )
