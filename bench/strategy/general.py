"""The general scheme of training (paper section 2.3), and the scoring that all strategies share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from bench.protocol import (
    Budget,
    Component,
    Diverged,
    Noise,
    NotFinite,
    Optimiser,
    Run,
    Schedule,
    Score,
    Scores,
    Settings,
    State,
    Task,
)
from bench.strategy.fitted import Fitted

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.estimators import Subject
    from bench.priors import Density
    from bench.training import Batch, Losses, Model
    from bench.vae import VAE, Posterior


class Strategy(Settings):
    """A prior and the way it is trained. Fields of a subclass are its hyper-parameters.

    Attributes:
        name: set by the plugin registry.
        capturable: whether a step is what the device does and nothing else: no decision on the host, no counter, no
            draw but from its noise. On a GPU it is then captured once and replayed (`bench.training.capture`). It
            counts for the very class that says so.
        reach: parameter group -> the losses that may move it. Encoder and decoder follow the bound unless a subclass
            says otherwise; a prior that shares it says so here, and one with its own objective names that instead.
    """

    name: ClassVar[str] = ""
    capturable: ClassVar[bool] = False
    reach: ClassVar[Mapping[str, frozenset[str]]] = {"encoder": frozenset({"bound"}), "decoder": frozenset({"bound"})}

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Complete `reach` with what the subclass says nothing of."""
        cls.reach = {**Strategy.reach, **cls.reach}

    # ------------------------------------------------------------ what a strategy says

    def skip(self, task: Task) -> str | None:
        """Return why this strategy cannot do `task`, in words, or None."""
        return None

    def prior(self, task: Task, vae: VAE, noise: Noise) -> Density:
        """Return a fresh prior over z, on the CPU; torch's global generator is seeded, and `noise` is its own."""
        raise NotImplementedError

    def others(self, task: Task) -> dict[str, nn.Module]:
        """Return whatever else is trained (an adversary, a critic), by parameter group."""
        return {}

    def optimiser(self, group: str, budget: Budget) -> Optimiser:
        """Return the optimiser of a parameter group: the budget's unless the strategy has its own."""
        return budget.optimiser

    def schedule(self, group: str, budget: Budget) -> Schedule:
        """Return how a parameter group's rate moves: as the budget says where it has the budget's own optimiser."""
        return budget.schedule if self.optimiser(group, budget) is budget.optimiser else Schedule()

    def clip(self, group: str) -> float | None:
        """Return the norm to which a parameter group's gradient is clipped, or None."""
        return None

    def called(self, loss: str, prior: Density) -> str:
        """Return what the mean of a loss is called in curves and on the screen.

        The bound under a prior that is not normalised lacks log Z, and is not to be compared with another's.
        """
        return "bound without log Z" if loss == "bound" and not prior.normalised else loss

    def posterior_std(self) -> float | None:
        """Return the standard deviation to which every posterior is fixed, or None where it is learned."""
        return None

    def objective(self, model: Model, z: Tensor, posterior: Posterior, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, loss) of the prior's own step, after encoder and decoder took theirs.

        Args:
            model: what is trained.
            z: the step's posterior samples, detached, `(B, d)`.
            posterior: where they come from, detached.
            noise: the strategy's own stream.
        """
        yield from ()

    def draws(self, model: Model, n: int, noise: Noise) -> dict[str, Tensor]:
        """Return samples of the prior `(n, d)` by the name of their sampler."""
        return {"prior": model.prior.sample(n, noise)}

    def diagnostics(self, model: Model, latents: Tensor, scores: Sequence[Score], noise: Noise) -> Sequence[Score]:
        """Return the strategy's own scores beside the common ones: how well its parts keep up with each other.

        Args:
            model: what was trained; where weights are averaged and it has `others`, with the latest ones, which those
                follow.
            latents: samples of its q(z|x) on training data, `(K, d)`.
            scores: the common scores; log Z is that of its prior.
            noise: where draws come from.
        """
        return ()

    # ------------------------------------------------------------ the general scheme

    def losses(self, model: Model, batch: Batch) -> Iterator[tuple[str, Tensor]]:
        """Yield the step's losses in order: Algorithm 1's line 4, then line 5 (or whatever stands in its place)."""
        from bench.training.model import held

        posterior = model.vae.encoder(batch.x)
        z = posterior.sample(batch.posterior.normal(*posterior.mean.shape))
        with contextlib.nullcontext() if "bound" in self.reach.get("prior", ()) else held(model.prior):
            bound = self.bound(model.vae, model.prior, batch, posterior, z)
        yield "bound", bound
        yield from self.objective(model, z.detach(), posterior.detach(), batch.prior)

    def bound(self, vae: VAE, prior: Density, batch: Batch, posterior: Posterior, z: Tensor) -> Tensor:
        """Return the loss `bound`: `objectives.negative_bound` with the step's weight of the KL term, a scalar.

        Args:
            vae: gives log p(x|z).
            prior: gives E(z).
            batch: the step's items.
            posterior: theirs.
            z: its samples, `(B, d)`, differentiable in the encoder.
        """
        from bench.objectives import bound_parts

        divergence, log_likelihood = bound_parts(vae, prior, batch.x, posterior, z)
        return batch.weighted("bound", lambda weight: (weight * divergence - log_likelihood).mean())

    def model(self, task: Task, run: Run) -> Model:
        """Return fresh modules on the run's device; encoder and decoder depend on the seed alone."""
        from bench import vae
        from bench.streams import seed_globals, stream
        from bench.training import Model

        shape = task.splits.train.shape[1:]
        seed_globals(run.seed, "init", 0)
        encoder = vae.encoder(task.networks, shape, self.posterior_std())
        seed_globals(run.seed, "init", 1)
        decoder = vae.decoder(task.networks, shape, task.dataset.likelihood)
        autoencoder = vae.VAE(encoder, decoder)
        seed_globals(run.seed, "prior", -1)
        model = Model(autoencoder, self.prior(task, autoencoder, stream(run.seed, "prior", -1)), self.others(task))
        for module in model.groups.values():
            module.to(run.device)
        return model

    def fit(self, task: Task, run: Run) -> State:
        """Train encoder, decoder and prior, resuming from the checkpoint in `run.folder` if there is one.

        Raises:
            Diverged: a loss or gradient is not finite.
            OutOfMemory: the device's memory does not suffice.
            Stopped: the run was asked to stop; a checkpoint lies in its folder.
        """
        from bench.streams import stream
        from bench.training import energy_gap, guarded

        with guarded(run.device):
            model = self.model(task, run)
            state = self.stages(model, task, run)
            if model.prior.has_density and not model.prior.normalised:
                noise = stream(run.seed, "prior", -2, run.device)
                state["stability"] |= energy_gap(model.prior, state["stability"]["energy_posterior"], noise)
        return state

    def stages(self, model: Model, task: Task, run: Run) -> State:
        """Carry out every stage of training; here there is one."""
        return self.train(model, task, run, self.losses, self.reach)

    def train(
        self,
        model: Model,
        task: Task,
        run: Run,
        losses: Losses,
        reach: Mapping[str, frozenset[str]],
        prior: Density | None = None,
    ) -> State:
        """Train `model` by `losses` for the task's budget: one stage of `fit`, for most strategies the only one.

        `prior` is the one of the bound, where that is not the model's.
        """
        from bench.training import Loop

        bounding = prior or model.prior

        def called(loss: str) -> str:
            return self.called(loss, bounding)

        return Loop(task, run, model, losses, reach, self, called, bounding, self._parts(task)).train()

    def _parts(self, task: Task) -> dict[str, object]:
        """Return what has a say in a step of training, by what it is called."""
        networks = {"the encoder": task.networks.encoder, "the decoder": task.networks.decoder}
        own = {name: getattr(self, name) for name in type(self).model_fields}
        components = {f"the {name}": part for name, part in own.items() if isinstance(part, Component)}
        return {"the strategy": self, "the data set": task.dataset, **networks, **components}

    def restored(self, state: State, task: Task, run: Run, latest: bool = False) -> Model:
        """Return the modules that a state holds, in evaluation mode; the `latest` weights in place of averages."""
        model = self.model(task, run)
        modules = state["modules"] | (state.get("latest", {}) if latest else {})
        for group, module in model.groups.items():
            module.load_state_dict(modules[group])
            module.eval()
        return model

    def fitted(self, state: State, task: Task, run: Run, log_z: float | None = None) -> Fitted:
        """Return the model that a state holds, as its user handles it; `log_z` is what was scored, where it counts."""
        from bench.streams import undisturbed

        with undisturbed():
            model = self.restored(state, task, run)
        return Fitted(model, task.dataset, task.splits.test, task.networks.latent, log_z)

    def evaluate(self, state: State, task: Task, run: Run) -> Scores:
        """Score a fitted state on the evaluation's split; the seed of scoring is `task.evaluation.seed` and `run.seed`.

        Raises:
            Diverged: a score is not finite, or the prior does not integrate.
            OutOfMemory: the device's memory does not suffice.
        """
        import torch

        from bench import estimators
        from bench.streams import Stream, stream
        from bench.training import Clocks, guarded, peak
        from bench.training.model import LATENTS, latents

        clocks = Clocks(run.device)

        def noise_for(name: str) -> Stream:
            return stream(task.evaluation.seed, f"evaluate/{run.seed}/{name}", 0, run.device)

        with guarded(run.device), torch.no_grad(), _finding(state):
            model = self.restored(state, task, run)
            stored = torch.from_numpy(task.scored)
            test = task.dataset.fixed(stored).to(run.device)
            train, _, z = latents(model, task, LATENTS, noise_for("latents"))
            subject = estimators.Subject(
                model.vae,
                model.prior,
                test,
                z,
                task.evaluation,
                noise_for,
                task.dataset,
                train,
                lambda n: self.draws(model, n, noise_for("known/samples")),
            )
            scores = estimators.score(subject, run.progress)
            own: Sequence[Score] = ()
            drawings = {}
            if not task.evaluation.bound_alone:
                own = self.diagnostics(
                    *self._pursued(state, task, run, model, subject, scores), noise_for("diagnostics")
                )
                drawings = estimators.drawings(
                    model.vae,
                    task.dataset,
                    test,
                    stored.shape[1:],
                    z,
                    lambda n: self.draws(model, n, noise_for("samples")),
                )
        clocks.lap("evaluate_seconds")
        resources = clocks.seconds | {"peak_device_bytes": float(peak(run.device))}
        return replace(scores, scores=[*scores.scores, *own], arrays={**scores.arrays, **drawings}, resources=resources)

    def _pursued(
        self, state: State, task: Task, run: Run, model: Model, subject: Subject, scores: Scores
    ) -> tuple[Model, Tensor, Sequence[Score]]:
        """Return the model that an adversary or critic follows, latents of it, and the scores, log Z its own.

        It is what is scored, but where that has averaged weights: they follow the latest.
        """
        from bench.estimators.partition import score_log_z
        from bench.training.model import LATENTS, latents

        if "latest" not in state:
            return model, subject.latents, scores.scores
        model = self.restored(state, task, run, latest=True)
        _, _, z = latents(model, task, LATENTS, subject.noise_for("latents"))
        own = score_log_z(replace(subject, vae=model.vae, prior=model.prior, latents=z)).scores
        names = {score.metric.name for score in own}
        return model, z, [*own, *(score for score in scores.scores if score.metric.name not in names)]


@contextlib.contextmanager
def _finding(state: State) -> Iterator[None]:
    """Turn what is not finite in the block (a score; log Z, where a prior does not integrate) into `Diverged`."""
    try:
        yield
    except NotFinite as error:
        raise Diverged(str(error), state["steps"], state["stability"], state["curves"]) from error
