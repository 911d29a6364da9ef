"""What of a step depends on how far training is: learning rates, the weight of the KL term, that of an average.

All of it is a function of the step alone, worked out on the device from a tensor that holds the step: a step that was
captured to be replayed reads it anew, and a resumed run needs nothing but its step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from bench.protocol import Budget, Schedule
from bench.training.model import Model


class Pace:
    """Where a stage of training is.

    Args:
        budget: what it was told to do.
        per_epoch: steps an epoch.
        device: of all tensors.
    """

    def __init__(self, budget: Budget, per_epoch: int, device: torch.device) -> None:
        self.budget, self.per_epoch, self.total = budget, per_epoch, per_epoch * budget.epochs
        #: the weight of the KL term at this step, `()`; None where it is 1 throughout
        self.weight = None if budget.warmup.off else torch.zeros((), device=device)
        #: the weight of the parameters after this step in their average, `()`: (1 - d)/(1 - d^t), 1 at the first
        self.news = torch.zeros((), device=device)
        self._number = 0

    def at(self, step: int) -> Pace:
        """Move to a step, 0 the first."""
        self._number = step + 1
        if self.weight is not None:
            self.weight.fill_(self._rise(self.budget.warmup.epochs * self.per_epoch))
        if not self.budget.average.off:
            decay = self.budget.average.decay
            self.news.fill_((1 - decay) / -math.expm1(self._number * math.log(decay)))
        return self

    def rate(self, schedule: Schedule) -> float:
        """Return what a schedule multiplies a learning rate by at this step."""
        warm, last = schedule.warmup * self.per_epoch, schedule.epochs * self.per_epoch
        begin = self.total - last if last else warm
        factor = self._rise(warm)
        if schedule.kind == "step":
            return factor * (schedule.share if self._number > round(begin) else 1.0)
        if schedule.kind == "cosine":
            way = min(max((self._number - begin) / (self.total - begin), 0.0), 1.0)
            return factor * (schedule.share + (1 - schedule.share) * 0.5 * (1 + math.cos(math.pi * way)))
        return factor

    def _rise(self, steps: float) -> float:
        return min(self._number / steps, 1.0) if steps else 1.0


class Averages:
    """The moving average of the parameters of every module that is scored (`protocol.Average`).

    Attributes:
        values: parameter group -> name of a parameter -> its average.
    """

    def __init__(self, model: Model) -> None:
        self.parameters = {group: dict(module.named_parameters()) for group, module in model.scored.items()}
        self.values = {
            group: {name: parameter.detach().clone() for name, parameter in own.items()}
            for group, own in self.parameters.items()
        }

    @torch.no_grad()
    def follow(self, news: Tensor) -> None:
        """Move towards the parameters as they are now, by a share `()`."""
        for group, own in self.values.items():
            for name, average in own.items():
                average.lerp_(self.parameters[group][name], news.to(average.dtype))

    @torch.no_grad()
    def put(self) -> None:
        """Put the averages into the model; its buffers stay as they are."""
        for group, own in self.values.items():
            for name, average in own.items():
                self.parameters[group][name].copy_(average)

    @contextmanager
    def standing_in(self) -> Iterator[None]:
        """Have the averages in the model for a while."""
        latest = {group: {n: p.detach().clone() for n, p in own.items()} for group, own in self.parameters.items()}
        self.put()
        try:
            yield
        finally:
            with torch.no_grad():
                for group, own in latest.items():
                    for name, value in own.items():
                        self.parameters[group][name].copy_(value)
