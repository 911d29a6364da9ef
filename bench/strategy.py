"""What strategies extend: the general scheme of training (paper section 2.3), and the scoring that all share.

A strategy that brings a new prior overrides `prior`; one that brings a new way to train an energy extends
`EnergyStrategy` and overrides `objective`. Nothing here imports torch until a strategy is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from bench.protocol import Ais, Budget, Noise, Optimiser, Run, Scores, Search, Settings, State, Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.priors import Density
    from bench.training import Batch, Model
    from bench.vae import VAE, Posterior

WATCHED = 1024  # training items on which an epoch's figures are measured
LATENTS = 10_000  # training items whose posterior samples give log Z's estimators the moments of q(z)
QUICK = Ais(temperatures=100, chains=100)  # for log Z at the end of an epoch: a rough figure, never a score
SHOWN = 64  # samples kept beside the record


class Strategy(Settings):
    """A prior and the way it is trained. Fields of a subclass are its hyper-parameters.

    Attributes:
        name: set by the plugin registry.
        reach: parameter group -> the losses that may move it. Encoder and decoder follow the bound; a prior that
            shares it says so here, and one with its own objective names that instead.
    """

    name: ClassVar[str] = ""
    reach: ClassVar[Mapping[str, frozenset[str]]] = {
        "encoder": frozenset({"bound"}),
        "decoder": frozenset({"bound"}),
    }

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

    # ------------------------------------------------------------ the general scheme

    def losses(self, model: Model, batch: Batch) -> Iterator[tuple[str, Tensor]]:
        """Yield the step's losses in order: Algorithm 1's line 4, then line 5 (or whatever stands in its place)."""
        from bench.objectives import negative_bound

        posterior = model.vae.encoder(batch.x)
        z = posterior.sample(batch.posterior.normal(*posterior.mean.shape))
        yield "bound", negative_bound(model.vae, model.prior, batch.x, posterior, z)
        yield from self.objective(model, z.detach(), posterior.detach(), batch.prior)

    def model(self, task: Task, run: Run) -> Model:
        """Return fresh modules on the run's device; encoder and decoder depend on the seed alone."""
        from bench import vae
        from bench.training import Model, seed_globals, stream

        features = task.splits.train[0].size
        seed_globals(run.seed, "init", 0)
        encoder = vae.encoder(task.networks, features)
        seed_globals(run.seed, "init", 1)
        decoder = vae.decoder(task.networks, features, task.dataset.likelihood)
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
        from bench.training import Loop, energy_gap, guarded, stream

        with guarded(run.device):
            model = self.model(task, run)
            optimisers = {group: self.optimiser(group, task.budget) for group in self.reach}
            watch = partial(_watch, task, run)
            state = Loop(task, run, model, self.losses, self.reach, optimisers, watch).train()
            if not model.prior.normalised:
                noise = stream(run.seed, "prior", -2, run.device)
                state["stability"] |= energy_gap(model.prior, state["stability"]["energy_posterior"], noise)
        return state

    def evaluate(self, state: State, task: Task, run: Run) -> Scores:
        """Score a fitted state on the test split; the seed of scoring is `task.evaluation.seed` and `run.seed`."""
        import torch

        from bench import estimators
        from bench.training import Clocks, Stream, guarded, peak, stream

        clocks = Clocks(run.device)

        def noise_for(name: str) -> Stream:
            return stream(task.evaluation.seed, f"evaluate/{run.seed}/{name}", 0, run.device)

        with guarded(run.device), torch.no_grad():
            model = self.model(task, run)
            for group, module in model.groups.items():
                module.load_state_dict(state["modules"][group])
            stored = torch.from_numpy(task.splits.test[: task.evaluation.images])
            test = task.dataset.fixed(stored).to(run.device)
            _, latents = _latents(model, task, LATENTS, noise_for("latents"))
            scores = estimators.score(model.vae, model.prior, test, latents, task.evaluation, noise_for, run.progress)
            drawn = self.draws(model, SHOWN, noise_for("samples"))
            samples = {f"samples_{name}": model.vae.decoder.mean(z).cpu().numpy() for name, z in drawn.items()}
        clocks.lap("evaluate_seconds")
        resources = clocks.seconds | {"peak_device_bytes": float(peak(run.device))}
        return Scores(scores.scores, {**scores.arrays, **samples}, resources)


class Energy(Settings):
    """An energy-based prior."""

    kind: Literal["grbm"] = Field("grbm", description="the family: a Gaussian-Bernoulli RBM")
    hidden: Annotated[int, Field(ge=1, le=65536)] = Field(64, description="number H of hidden units")


class Sampler(Settings):
    """The Markov chain that draws the samples shown; block Gibbs samples are shown beside it."""

    kind: Literal["gibbs", "langevin", "gibbs-langevin"] = Field("langevin", description="the chain's transitions")
    steps: int = Field(100, ge=1, description="transitions from N(0, I)")
    step_size: float = Field(0.1, gt=0, lt=2, description="of a Langevin step, in units of the smallest variance")
    inner: int = Field(5, ge=1, description="Langevin steps a sweep of gibbs-langevin")
    adjust: bool = Field(False, description="accept or reject Langevin steps by Metropolis and Hastings")


class EnergyStrategy(Strategy):
    """A strategy whose prior is an energy that has its own objective on detached z.

    A subclass brings `objective` and names its losses in `reach`.
    """

    energy: Energy = Field(Energy(), description="the energy-based prior")
    lr: Annotated[float, Search(low=5e-5, high=2e-3, log=True)] = Field(
        2e-4, gt=0, le=1, description="learning rate of the prior"
    )
    sampler: Sampler = Field(Sampler(), description="the chain that draws the samples shown")

    def prior(self, task: Task, vae: VAE, noise: Noise) -> Density:
        """Return a fresh GRBM."""
        from bench.priors import GRBM

        return GRBM(task.networks.latent, self.energy.hidden)

    def optimiser(self, group: str, budget: Budget) -> Optimiser:
        """Return the budget's optimiser; for the prior, with its own learning rate."""
        return Optimiser(lr=self.lr) if group == "prior" else budget.optimiser

    def draws(self, model: Model, n: int, noise: Noise) -> dict[str, Tensor]:
        """Return long-run Gibbs samples and those of the chosen sampler from N(0, I), `(n, d)` each."""
        from bench import priors, samplers

        prior, chosen = model.prior, self.sampler
        assert isinstance(prior, priors.GRBM)
        start = noise.normal(n, len(prior.mu))
        step_size = chosen.step_size * float(prior.var.min())
        if chosen.kind == "gibbs":
            z = samplers.gibbs(prior, start, chosen.steps, noise)
        elif chosen.kind == "langevin":
            z, _ = samplers.langevin(prior, start, chosen.steps, step_size, noise, chosen.adjust)
        else:
            z, _ = samplers.gibbs_langevin(
                prior, start, chosen.steps, chosen.inner, chosen.step_size, noise, chosen.adjust
            )
        return {"prior": prior.sample(n, noise), f"{chosen.kind}-{chosen.steps}": z}


def _latents(model: Model, task: Task, n: int, noise: Noise) -> tuple[Posterior, Tensor]:
    """Return the posteriors of the first `n` training items and a sample of each, `(n, d)`."""
    import torch

    items = torch.from_numpy(task.splits.train[:n]).to(noise.device)
    posterior: Posterior = model.vae.encoder(task.dataset.prepare(items, noise))
    return posterior, posterior.sample(noise.normal(*posterior.mean.shape))


def _watch(task: Task, run: Run, model: Model) -> dict[str, float]:
    """Return figures of the end of an epoch, always of the same training items with the same noise."""
    import torch

    from bench import estimators
    from bench.training import measure, stream

    def noise_for(name: str) -> Noise:
        return stream(run.seed, f"evaluate/watched/{name}", 0, run.device)

    with torch.no_grad():
        posterior, z = _latents(model, task, WATCHED, noise_for("latents"))
        figures = measure(model.prior, posterior, z)
        if not model.prior.normalised:
            figures["log_z"] = estimators.log_partition(model.prior, z, QUICK, noise_for).value
    return figures
