"""The training loop: batches in, losses one after another, a checkpoint now and then.

A strategy gives `losses(model, batch)`, a generator of (name, loss): each loss is stepped on before the next is
computed. The paper's Algorithm 1 is the pair `bound`, `score-matching`; Algorithm 2 is `bound`, `adversary`, `prior`.
Which parameter groups a loss moves is declared once, in `reach`, and enforced here: no other group gets its gradient.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from bench import files
from bench.priors.density import Density, Figure
from bench.protocol import Diverged, NotFinite, Run, State, Stopped, Task, UserError
from bench.streams import Stream, seed_globals
from bench.training import capture
from bench.training.model import Batch, Model, freeze
from bench.training.movers import Movers, Rules
from bench.training.pace import Averages, Pace
from bench.training.resources import Clocks, peak
from bench.training.stability import BOUND, COMPARED, stopping_refused, watch
from bench.training.tally import Tally

CHECKPOINT = "checkpoint-"  # begins the names of checkpoints, by `files.save_tensors` in a run's folder
KEPT = 2  # checkpoints: the one before the last, should that be damaged
CHECK_STEPS = 50  # how often the host asks the device whether a number went bad; each question waits for the device

Losses = Callable[[Model, Batch], Iterator[tuple[str, Tensor]]]


class Loop:
    """One run of training.

    Args:
        task: data and budget.
        run: seed, device, folder; a checkpoint found there is resumed, and on a CPU ends in the same bits.
        model: what is trained, on the run's device.
        losses: the strategy's losses of a batch, in order.
        reach: parameter group -> names of the losses that move it.
        rules: what says how the parameters of a group are moved; a strategy.
        called: loss -> what its mean is called in curves and in progress.
        prior: under which the bound is taken; the model's by default.
        parts: what has a say in a step, by what it is called (`capture.graph`).

    Raises:
        UserError: the budget would make no step: what was never trained is not to be scored; a schedule does not go
            into its epochs; or training is to end early, and the prior has no validation bound.
    """

    def __init__(
        self,
        task: Task,
        run: Run,
        model: Model,
        losses: Losses,
        reach: Mapping[str, frozenset[str]],
        rules: Rules,
        called: Callable[[str], str] = str,
        prior: Density | None = None,
        parts: Mapping[str, object] | None = None,
    ) -> None:
        if reason := task.budget.refuses(task.splits.items):
            raise UserError(reason)
        self.task, self.run, self.model, self.losses = task, run, model, losses
        self.device = torch.device(run.device)
        parameters = {group: list(model.groups[group].parameters()) for group in reach}
        parameters = {group: own for group, own in parameters.items() if own}
        self.movers = Movers(parameters, reach, rules, task.budget, self.device)
        self.reach, self.called, self.prior = reach, called, prior or model.prior
        self.per_epoch = len(task.splits.train) // task.budget.batch_size
        self.total = self.per_epoch * task.budget.epochs
        self.pace = Pace(task.budget, self.per_epoch, self.device)
        self.averages = None if task.budget.average.off else Averages(model)
        for mover in self.movers:
            if reason := mover.schedule.refuses(task.budget.epochs):
                raise UserError(f"the schedule of the learning rate of {' and '.join(mover.groups)}: {reason}")
        if reason := stopping_refused(self.prior, task):
            raise UserError(reason)
        #: the state of the epoch with the best validation bound, where training may end early
        self.best: dict[str, Any] = {}

        self.step = 0
        self.curves: list[dict[str, Any]] = []
        self.stability: dict[str, float] = {}
        self.clocks = Clocks(self.device)
        self.tally = Tally(self.device)
        # what a step reads: moved to it by `_begin`, in the same place all along
        self.data = torch.from_numpy(task.splits.train).to(self.device)
        self.index = torch.zeros(task.budget.batch_size, dtype=torch.int64, device=self.device)
        self.order = self.index
        self.noise = {name: Stream(run.seed, name, self.device) for name in ("binarise", "posterior", "prior")}
        graph = capture.graph(self.device, {"the strategy": rules} if parts is None else parts)
        generators = [stream.generator for stream in self.noise.values()]
        self.steps = capture.Steps(self._begin, self._body, generators, self.tally, graph)
        for mover in self.movers if not isinstance(graph, str) else ():
            mover.asks = False
        #: how steps are taken
        self.execution = self.steps.execution

    def train(self) -> State:
        """Train to the end of the budget, from the start or the checkpoint.

        Raises:
            Diverged: a loss or gradient is not finite.
            Stopped: the run was asked to stop; a checkpoint lies in its folder.
        """
        self._restore()
        if not self.over:
            self._train()
        if self.best:
            self._put(self.best)
            self.stability = self.best["stability"]  # of the model that is kept
        latest = {}
        if self.averages is not None:
            latest = {group: _copied(module) for group, module in self.model.scored.items()}
            self.averages.put()
        freeze(self.model, self.task, self.run)
        state: State = {
            "modules": self._modules(),
            "steps": self.step,
            "curves": self.curves,
            "stability": self.stability,
            "resources": {f"{name}_seconds": seconds for name, seconds in self.clocks.seconds.items()}
            | {"peak_device_bytes": float(peak(self.run.device))},
            "execution": self.execution,
        }
        if latest and self.model.others:
            state["latest"] = latest
        if not self.task.budget.early_stopping.off:
            state["resources"]["epochs"] = float(self.step // self.per_epoch)
        return state

    @property
    def over(self) -> bool:
        """Whether training has come to its end, that of the budget or an earlier one."""
        closed = self.step // self.per_epoch - 1
        waited = closed - self.best["epoch"] if self.best else 0
        return self.step == self.total or (bool(self.best) and waited >= self.task.budget.early_stopping.patience)

    def _train(self) -> None:
        budget = self.task.budget
        self.clocks.lap("overhead")
        cold = True
        first, saved_step, saved_at = self.step, self.step, time.monotonic()
        while not self.over:
            epoch, position = divmod(self.step, self.per_epoch)
            if position == 0 or self.step == first:
                # drawn on the CPU, so that every device sees the data in the same order
                order = Stream(self.run.seed, "data").at(epoch).permutation(len(self.data))
                self.order = order.to(self.device)
            try:
                self.steps.take()
            except NotFinite as error:
                raise Diverged(str(error), self.step, self.stability, self.curves) from error
            except Exception:
                # what comes after a number that went bad may fail in any way, and is no bug of its own
                self.tally.close_step()
                self._refuse(position + 1, epoch)
                raise
            self.step += 1

            if cold and self.steps.settled:
                cold = False
                self.clocks.lap("warmup")
                self.execution = self.steps.execution
            ends = self.step % self.per_epoch == 0
            if ends or self.step % CHECK_STEPS == 0:
                self._check(position + 1, epoch)
            if ends:
                self.clocks.lap("fit")
                self._close(epoch)
                self.clocks.lap("overhead")
            stop = self.run.stop_requested()
            due = (
                self.over
                or time.monotonic() - saved_at > 60 * budget.checkpoint.minutes
                or (budget.checkpoint.steps is not None and self.step - saved_step >= budget.checkpoint.steps)
            )
            if due or stop:
                self.clocks.lap("fit")
                self._check(0 if ends else position + 1, epoch)  # an epoch that is over has been checked
                self._save()
                self.clocks.lap("overhead")
                saved_step, saved_at = self.step, time.monotonic()
            if stop and not self.over:
                raise Stopped(f"stopped at step {self.step} of {self.total}")

    def _begin(self) -> None:
        """Move all that a step reads to this step: items, noise, learning rates and weights."""
        position, size = self.step % self.per_epoch, self.task.budget.batch_size
        self.index.copy_(self.order[position * size : (position + 1) * size])
        for stream in self.noise.values():
            stream.at(self.step)
        seed_globals(self.run.seed, "libraries", self.step)  # not as a stream of noise, or both would draw the same
        self.pace.at(self.step)
        for mover in self.movers:
            mover.pace(self.pace.rate(mover.schedule))

    def _body(self) -> None:
        """Take this step: nothing but what the device does, so that it can be captured and replayed."""
        x = self.task.dataset.prepare(self.data.index_select(0, self.index), self.noise["binarise"])
        self._update(Batch(x, self.noise["posterior"], self.noise["prior"], self.pace.weight))

    def _update(self, batch: Batch) -> None:
        """Take every loss of the batch in turn and move the groups that it may reach."""
        taken = False
        for name, loss in self.losses(self.model, batch):
            taken = True
            movers = self.movers.of(name)
            if batch.weight is not None and name in self.reach.get("encoder", ()) and name not in batch.shown:
                lacking = "does not weigh its KL term by `batch.weighted`, as train.warmup asks"
                raise UserError(f'the loss "{name}" reaches the encoder and {lacking}')
            parameters = [parameter for mover in movers for parameter in mover.parameters]
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            norms: list[Tensor] = []
            for mover in movers:
                norms += mover.step(gradients[: len(mover.parameters)])
                gradients = gradients[len(mover.parameters) :]
            groups = [group for mover in movers for group in mover.groups]
            self.tally.add(name, batch.shown.pop(name, loss), norms, groups)
        if not taken:
            raise UserError("the strategy yields no loss, so that nothing is trained")
        self.tally.close_step()
        if self.averages is not None:
            self.averages.follow(self.pace.news)

    def _refuse(self, taken: int, epoch: int) -> None:
        """Raise Diverged if any number went bad among the steps of an epoch that were taken."""
        if (good := int(self.tally.good)) < taken:
            self._absorb(self.tally.norms)
            step = epoch * self.per_epoch + good
            raise Diverged("a loss or a gradient is not finite", step, self.stability, self.curves)

    def _check(self, taken: int, epoch: int) -> None:
        """Raise Diverged if any number went bad among the steps of an epoch, and report progress."""
        self._refuse(taken, epoch)
        figures = {name: float(figure.value) for name, figure in self._means().items()}
        # of the end of the last epoch
        figures |= {name: self.stability[name] for name in (BOUND, *COMPARED) if name in self.stability}
        self.run.progress(stage="fit", done=self.step, total=self.total, epoch=epoch, **figures)

    def _means(self) -> dict[str, Figure]:
        """Return the mean of each loss over this epoch so far, by what it is called."""
        return {self.called(name): Figure(mean) for name, mean in self.tally.means.items()}

    def _close(self, epoch: int) -> None:
        """Record the epoch's means and how the model fares."""
        with self.averages.standing_in() if self.averages is not None else nullcontext():
            watched = watch(self.task, self.run, self.model, self.prior)
        values = self._absorb(self._means() | self.tally.norms | watched)
        self.curves += [
            {"epoch": epoch, "step": self.step, "metric": metric, "value": value} for metric, value in values.items()
        ]
        self.tally.clear()
        bound = next((values[name] for name in COMPARED if name in values), math.inf)
        self._keep_best(epoch, math.inf if math.isnan(bound) else bound)

    def _keep_best(self, epoch: int, bound: float) -> None:
        """Keep the state of an epoch whose validation bound is the best since the end of every warm-up."""
        budget = self.task.budget
        warm = epoch + 1 < max(budget.warmup.epochs, *(mover.schedule.warmup for mover in self.movers))
        if budget.early_stopping.off or warm or (self.best and not bound < self.best["bound"]):
            return
        modules = {group: _copied(module) for group, module in self.model.groups.items()}
        averages = {} if self.averages is None else {g: _cloned(own) for g, own in self.averages.values.items()}
        self.best = {"epoch": epoch, "bound": bound, "modules": modules, "averages": averages}
        self.best["stability"] = dict(self.stability)

    def _put(self, saved: Mapping[str, Any]) -> None:
        """Put weights, latest and averaged, into their places."""
        for group, module in self.model.groups.items():
            module.load_state_dict(saved["modules"][group])
        if self.averages is not None:
            self.averages.values = saved["averages"]

    def _absorb(self, figures: Mapping[str, Figure]) -> dict[str, float]:
        """Return the figures' values, and keep the extremes of what is an extreme and the latest of the rest."""
        values = {name: float(figure.value) for name, figure in figures.items()}
        for name, value in values.items():
            self.stability[name] = figures[name].keep(self.stability.get(name, value), value)
        return values

    def _modules(self) -> dict[str, dict[str, Tensor]]:
        return {group: module.state_dict() for group, module in self.model.groups.items()}

    def _save(self) -> None:
        """Write a checkpoint and delete earlier ones, but for the one before it."""
        content = {
            "step": self.step,
            "modules": self._modules(),
            "averages": {} if self.averages is None else self.averages.values,
            "best": self.best,
            "optimisers": {mover.name: mover.state for mover in self.movers},
            "tally": self.tally.state(),
            "curves": self.curves,
            "stability": self.stability,
            "seconds": self.clocks.seconds,
            "execution": self.execution,
        }
        files.save_tensors(self.run.folder, f"{CHECKPOINT}{self.step:012}", content)
        for earlier in files.sealed(self.run.folder, CHECKPOINT)[KEPT:]:
            earlier.unlink(missing_ok=True)

    def _restore(self) -> None:
        """Go on from the latest checkpoint that is as it was written, if there is one; say which are not."""
        then = "training goes on from the checkpoint before it, or from the start where there is none"
        checkpoint = files.latest(self.run.folder, CHECKPOINT, self.run.note, then, self.device)
        if checkpoint is None:
            return
        _, saved = checkpoint
        self._put(saved)
        for mover in self.movers:
            mover.state = saved["optimisers"][mover.name]
        self.tally.load(saved["tally"])
        self.best = saved["best"]
        self.step = saved["step"]
        self.curves, self.stability = saved["curves"], saved["stability"]
        self.clocks.seconds = saved["seconds"]
        self.execution = saved["execution"]


def _copied(module: torch.nn.Module) -> dict[str, Tensor]:
    return _cloned(module.state_dict())


def _cloned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}
