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
        self._number = torch.zeros((), device=device)  # 1 at the first step; float32 tells 16 million apart

    def at(self, step: int) -> Pace:
        """Move to a step, 0 the first."""
        self._number.fill_(step + 1)
        return self

    def rate(self, schedule: Schedule) -> Tensor:
        """Return what a schedule multiplies a learning rate by at this step, `()`."""
        warm, last = schedule.warmup * self.per_epoch, schedule.epochs * self.per_epoch
        begin = self.total - last if last else warm
        factor = self._rise(warm)
        if schedule.kind == "step":
            return torch.where(self._number > round(begin), schedule.share, 1.0) * factor
        if schedule.kind == "cosine":
            way = ((self._number - begin) / (self.total - begin)).clamp(0, 1)
            return (schedule.share + (1 - schedule.share) * 0.5 * (1 + torch.cos(math.pi * way))) * factor
        return factor

    @property
    def weight(self) -> Tensor | None:
        """The weight of the KL term at this step, `()`; None where it is 1 throughout."""
        return None if self.budget.warmup.off else self._rise(self.budget.warmup.epochs * self.per_epoch)

    @property
    def news(self) -> Tensor:
        """The weight of the parameters after this step in their average, `()`: (1 - d)/(1 - d^t), 1 at the first."""
        decay = self.budget.average.decay
        return (1 - decay) / -torch.expm1(self._number * math.log(decay))

    def _rise(self, steps: float) -> Tensor:
        return (self._number / steps).clamp(max=1) if steps else torch.ones_like(self._number)


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
