"""Strategies in two stages: a VAE first, then a density that is fitted to its frozen latents."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from bench.files import Damaged, load_tensors, save_tensors, sealed
from bench.protocol import Diverged, Noise, NotFinite, Run, State, Stopped, Task, UserError
from bench.strategy.general import Strategy

if TYPE_CHECKING:
    from torch import Tensor

    from bench.priors import Density
    from bench.training import Batch, Model

VAE_STAGE, PRIOR_STAGE = "vae", "prior"  # folders of their checkpoints, under the run's
FITTED = "fitted"  # the file of a prior that was fitted at one stroke


class StagedStrategy(Strategy):
    """A strategy that trains encoder and decoder under a first prior, freezes them, then fits its own to their latents.

    The second stage is one of two. Where `reach` names losses of the prior (or of other groups), these come from
    `objective`, on fresh z of every batch, and the training loop takes their steps for the same budget again.
    Otherwise `fit_latents` fits the prior at one stroke, to one sample of q(z|x) of every training item; that counts as
    one step, and its epoch is the one after the first stage's last.

    Both stages keep their own checkpoints, and one that is finished is not carried out again. Clocks, curves, steps and
    figures of stability run on from the first to the second.
    """

    reach: ClassVar = {}

    # ------------------------------------------------------------ what a strategy says

    def first_prior(self, latent: int) -> Density:
        """Return the prior under which the VAE is trained, N(0, I), in `latent` dimensions; it has no parameters."""
        from bench.priors import StandardNormal

        return StandardNormal(latent)

    def fit_latents(self, model: Model, latents: Tensor, noise: Noise) -> None:
        """Fit the prior's parameters or buffers in place: in closed form, or by a library.

        Args:
            model: what is trained, in evaluation mode; encoder and decoder stay as they are.
            latents: a sample of q(z|x) of every training item, `(N, d)`, on the model's device.
            noise: the strategy's own stream; global generators are seeded as well, for libraries.

        Raises:
            NotFinite: it came to no finite numbers; the cell is recorded as diverged.
        """
        raise NotImplementedError

    # ------------------------------------------------------------ the two stages

    @property
    def direct(self) -> bool:
        """Whether `fit_latents` fits the prior, which no loss moves."""
        return not self._second_reach

    @property
    def _second_reach(self) -> dict[str, frozenset[str]]:
        return {group: names for group, names in self.reach.items() if group not in Strategy.reach and names}

    def losses(self, model: Model, batch: Batch) -> Iterator[tuple[str, Tensor]]:
        """Yield the first stage's loss: the bound under the first prior."""
        posterior = model.vae.encoder(batch.x)
        z = posterior.sample(batch.posterior.normal(*posterior.mean.shape))
        yield "bound", self.bound(model.vae, self.first_prior(z.shape[-1]).to(z.device), batch, posterior, z)

    def latent_losses(self, model: Model, batch: Batch) -> Iterator[tuple[str, Tensor]]:
        """Yield the second stage's losses: the objective on latents of a frozen encoder."""
        import torch

        with torch.no_grad():
            posterior = model.vae.encoder(batch.x)
            z = posterior.sample(batch.posterior.normal(*posterior.mean.shape))
        yield from self.objective(model, z, posterior, batch.prior)

    def stages(self, model: Model, task: Task, run: Run) -> State:
        """Train the VAE, then fit the prior."""
        from bench.training import stopping_refused

        if not self.direct and (reason := stopping_refused(model.prior, task)):
            raise UserError(reason)  # before the first stage is trained
        first_reach = {group: self.reach[group] for group in Strategy.reach}
        first_run, under = replace(run, folder=run.folder / VAE_STAGE), self.first_prior(task.networks.latent)
        first = self.train(model, task, first_run, self.losses, first_reach, under.to(run.device))
        then = replace(run, folder=run.folder / PRIOR_STAGE)
        model.vae.eval()
        if self.direct:
            second = self._fitted(model, task, then, first)
        else:
            try:
                second = self.train(model, task, then, self.latent_losses, self._second_reach)
            except Diverged as error:
                seen, curves = first["stability"] | error.stability, first["curves"] + _later(error.curves, task, first)
                raise Diverged(error.reason, first["steps"] + error.step, seen, curves) from error
        took, more = first["resources"], second["resources"]
        peak = "peak_device_bytes"
        state: State = {
            "modules": second["modules"],
            "steps": first["steps"] + second["steps"],
            "curves": first["curves"] + _later(second["curves"], task, first),
            "stability": first["stability"] | second["stability"],
            "resources": {name: took.get(name, 0.0) + more.get(name, 0.0) for name in took | more if name != peak}
            | {peak: max(took[peak], more[peak])},
        }
        if "latest" in second:
            state["latest"] = second["latest"]
        took_steps = [stage["execution"] for stage in (first, second) if "execution" in stage]
        state["execution"] = next((one for one in took_steps if not one["captured"]), took_steps[0])
        return state

    def _fitted(self, model: Model, task: Task, run: Run, first: State) -> State:
        """Return the state of a prior that was fitted at one stroke, from its file if there is one."""
        from bench.training import Clocks, peak, watch

        saved = _saved(run)
        if saved is None:
            if run.stop_requested():
                raise Stopped(f"stopped after step {first['steps']}, before the prior is fitted")
            clocks = Clocks(run.device)
            run.progress(stage="fit", done=0, total=1)
            try:
                self._fit(model, task, run)
                figures = {name: float(figure.value) for name, figure in watch(task, run, model).items()}
            except NotFinite as error:
                steps = first["steps"] + 1
                raise Diverged(str(error), steps, first["stability"], first["curves"]) from error
            clocks.lap("fit_seconds")
            saved = {"prior": model.prior.state_dict(), "figures": figures, "seconds": clocks.seconds}
            save_tensors(run.folder, FITTED, saved)
            run.progress(stage="fit", done=1, total=1)
        model.prior.load_state_dict(saved["prior"])
        figures = saved["figures"]
        return {
            "modules": {group: module.state_dict() for group, module in model.groups.items()},
            "steps": 1,
            "curves": [{"epoch": 0, "step": 1, "metric": name, "value": value} for name, value in figures.items()],
            "stability": figures,
            "resources": saved["seconds"] | {"peak_device_bytes": float(peak(run.device))},
        }

    def _fit(self, model: Model, task: Task, run: Run) -> None:
        """Fit the prior to a sample of q(z|x) of every training item.

        Raises:
            NotFinite: the prior is not finite afterwards.
        """
        import torch

        from bench.streams import seed_globals, stream

        with torch.no_grad():
            latents = _latents(model, task, run)
        seed_globals(run.seed, "prior", -3)
        self.fit_latents(model, latents, stream(run.seed, "prior", -3, run.device))
        tensors = model.prior.state_dict().values()
        if not all(bool(tensor.isfinite().all()) for tensor in tensors if tensor.is_floating_point()):
            raise NotFinite("the prior that was fitted to latents is not finite")


def _later(curves: Sequence[Mapping[str, Any]], task: Task, first: State) -> list[dict[str, Any]]:
    """Return the curves of the second stage, its epochs and steps after those of the first."""
    epochs = int(first["resources"].get("epochs", task.budget.epochs))
    return [{**row, "epoch": row["epoch"] + epochs, "step": row["step"] + first["steps"]} for row in curves]


def _saved(run: Run) -> dict[str, Any] | None:
    """Return what the file of a fitted prior holds; None where there is none that is whole."""
    for path in sealed(run.folder, FITTED):
        with contextlib.suppress(Damaged):
            return load_tensors(path, run.device)
    return None


def _latents(model: Model, task: Task, run: Run) -> Tensor:
    """Return a sample of q(z|x) of every training item, `(N, d)`: the same noise for every strategy."""
    import torch

    from bench.streams import stream
    from bench.training.model import WATCHED

    binarise, posterior = (stream(run.seed, name, -1, run.device) for name in ("binarise", "posterior"))
    parts = []
    for items in torch.from_numpy(task.splits.train).split(WATCHED):
        q = model.vae.encoder(task.dataset.prepare(items.to(run.device), binarise))
        parts.append(q.sample(posterior.normal(*q.mean.shape)))
    return torch.cat(parts)
