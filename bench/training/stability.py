"""How training fares: numbers that tell a healthy run from one that is about to leave the finite numbers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import torch

from bench.estimators import quadrature
from bench.estimators.ais import LogZ
from bench.estimators.partition import by_quadrature, chain_steps, log_partition
from bench.objectives.losses import negative_bound
from bench.priors.density import Density, Figure
from bench.protocol import Ais, Noise, NotFinite, Run, Task
from bench.streams import Stream, stream
from bench.training.model import WATCHED, Model, latents
from bench.vae.autoencoder import Posterior

QUICK = Ais(temperatures=100, chains=100)  # for log Z at the end of an epoch: a rough figure, never a score
QUICK_TOLERANCE = 1e-3  # nats, of its quadrature
BOUND = "bound with log Z"
VALIDATION = "validation bound"  # of the prior that the bound is under, with what its name then says of log Z
UPPER = f"{VALIDATION} at log Z's upper end"  # where log Z is estimated by AIS
COMPARED = (UPPER, f"{VALIDATION} with log Z", VALIDATION)  # by early stopping: the first that there is
SHARE, WAYS = (
    0.05,
    6,
)  # of an epoch's time that log Z may take; samples' ways through a decoder that training an item takes
ACTIVE = 0.01  # variance over x of a dimension's posterior mean above which Burda et al. (2016) call it active


@torch.no_grad()
def measure(prior: Density, posterior: Posterior, z: torch.Tensor) -> dict[str, Figure]:
    """Return the state of prior and posterior on some items.

    The Stein residuals E_q[grad E] and E_q[z' grad E]/d - 1 are both 0 when the prior is the aggregate posterior; they
    need no samples of the prior, and are blind to modes far from q. A prior without a density has the
    posterior's figures and its own alone.

    Args:
        prior: gives E and its gradient.
        posterior: q(z|x) of B items.
        z: a sample of it, `(B, d)`.
    """
    spread = posterior.mean.var(0)
    figures = {
        "active_units": Figure((spread > ACTIVE).sum()),
        "posterior_log_std_min": Figure(posterior.log_std.min(), min),
        "posterior_log_std_max": Figure(posterior.log_std.max(), max),
        **prior.figures(z),
    }
    if not prior.has_density:
        return figures
    energy, gradient = prior.energy(z), prior.gradient(z)
    return {
        "energy_posterior": Figure(energy.mean()),
        "energy_abs_max": Figure(energy.abs().max(), max),
        "energy_gradient_max": Figure(gradient.norm(dim=-1).max(), max),
        "stein_mean": Figure(gradient.mean(0).norm() / z.shape[-1] ** 0.5),
        "stein_scale": Figure((z * gradient).sum(-1).mean() / z.shape[-1] - 1),
        **figures,
    }


@torch.no_grad()
def energy_gap(prior: Density, energy_posterior: float, noise: Stream, n: int = 256) -> dict[str, float]:
    """Return E_p[E] by `n` of the prior's own samples, and E_q[E] - E_p[E]: 0 when the prior has caught up."""
    energy = float(prior.energy(prior.sample(n, noise)).mean())
    return {"energy_prior": energy, "energy_gap": energy_posterior - energy}


def watch(task: Task, run: Run, model: Model, prior: Density | None = None) -> dict[str, Figure]:
    """Return figures of the end of an epoch, always of the same training items with the same noise.

    Where the bound is one under the model's prior, which is not normalised, and its log Z is had exactly in less time
    than an epoch takes, `BOUND` is the negative bound of these items with log Z: what a normalised prior's loss is.

    Args:
        task, run, model: what is trained, on what, and where.
        prior: under which the bound is taken; the model's by default.
    """

    def noise_for(name: str) -> Noise:
        return stream(run.seed, f"evaluate/watched/{name}", 0, run.device)

    with torch.no_grad():
        x, posterior, z = latents(model, task, WATCHED, noise_for("latents"))
        figures = measure(model.prior, posterior, z)
        log_z = _log_z(model.prior, z, noise_for)
        if log_z is not None:
            figures["log_z"] = Figure(log_z.value)
            if log_z.exact and prior in (None, model.prior):
                figures[BOUND] = Figure(negative_bound(model.vae, model.prior, x, posterior, z) + log_z.value)
        bounding = prior or model.prior
        if len(task.splits.validation) and bounding.has_density:
            bound = _validation_bound(task, model, bounding, noise_for("validation"))
            quick = log_z if bounding is model.prior and cheap(bounding, task) else None
            figures |= _with_log_z(bound, bounding, quick)
    return figures


def _validation_bound(task: Task, model: Model, prior: Density, noise: Noise) -> float:
    """Return the negative bound of all validation items, without log Z, nats: a posterior sample an item."""
    x = task.dataset.fixed(torch.from_numpy(task.splits.validation)).to(noise.device)
    draws = noise.normal(len(x), task.networks.latent)
    vae, was = model.vae, model.vae.training
    vae.eval()  # what is validated leaves nothing in the model
    vae.decoder.likelihood.train()  # a calibrated scale is not frozen yet
    total = 0.0
    for items, own in zip(x.split(WATCHED), draws.split(WATCHED), strict=True):
        posterior = vae.encoder(items)
        total += float(negative_bound(vae, prior, items, posterior, posterior.sample(own))) * len(items)
    vae.train(was)
    return total / len(x)


def _with_log_z(bound: float, prior: Density, log_z: LogZ | None) -> dict[str, Figure]:
    """Return the validation bound by what it is called, with log Z where it has that."""
    if prior.normalised:
        return {VALIDATION: Figure(bound)}
    if log_z is None:
        return {f"{VALIDATION} without log Z": Figure(bound)}
    upper = {} if log_z.exact else {UPPER: Figure(bound + log_z.upper)}
    return {f"{VALIDATION} with log Z": Figure(bound + log_z.value)} | upper


def cheap(prior: Density, task: Task) -> bool:
    """Tell whether log Z of a prior is had every epoch: known, exact, by quadrature, or by AIS in 5 % of its time.

    Time is counted in samples' ways through a decoder, not measured: what a run does depends on no clock.
    """
    if prior.normalised or not prior.has_density:
        return prior.normalised
    if task.networks.latent <= quadrature.MAX_DIMENSION or prior.exact_log_z() is not None:
        return True
    return prior.step_cost < 1 and prior.step_cost * chain_steps(QUICK) <= SHARE * WAYS * len(task.splits.train)


def stopping_refused(prior: Density, task: Task) -> str | None:
    """Return why training cannot end early by the validation bound under a prior, in words, or None."""
    if task.budget.early_stopping.off or cheap(prior, task):
        return None
    lacking = "its log Z takes longer than 5 % of an epoch" if prior.has_density else "it has no density"
    return f"train.early_stopping needs the validation bound every epoch, which this prior does not have: {lacking}"


def _log_z(prior: Density, z: torch.Tensor, noise_for: Callable[[str], Noise]) -> LogZ | None:
    """Return log Z of a prior that is not normalised, or None where it has none or takes longer than an epoch."""
    if prior.normalised or not prior.has_density:
        return None
    with suppress(NotFinite):  # nothing to show; what it means, the loop and the scores say
        if prior.step_cost >= 1 and z.shape[-1] <= quadrature.MAX_DIMENSION:  # long chains would give better anchors
            return by_quadrature(prior, z, QUICK_TOLERANCE)
        if prior.step_cost < 1:
            return log_partition(prior, z, QUICK, noise_for)
    return None
