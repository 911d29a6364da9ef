"""What moves parameters: one Adam for all parameter groups that the same losses move in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bench.protocol import Budget, Optimiser, Schedule


class Rules(Protocol):
    """How the parameters of a group are moved."""

    def optimiser(self, group: str, budget: Budget) -> Optimiser:
        """Return its optimiser."""

    def schedule(self, group: str, budget: Budget) -> Schedule:
        """Return how its learning rate moves."""

    def clip(self, group: str) -> float | None:
        """Return the norm to which its gradient is clipped, if it is."""


@dataclass
class Mover:
    """An Adam and the parameter groups that it moves.

    Attributes:
        losses: names of those that move them.
        optimiser: its settings.
        schedule: of its learning rate.
        groups: parameter group -> its parameters.
        clips: parameter group -> the norm to which its gradient is clipped, if it is.
    """

    losses: frozenset[str]
    optimiser: Optimiser
    schedule: Schedule
    device: torch.device
    groups: dict[str, list[nn.Parameter]] = field(default_factory=dict)
    clips: dict[str, float | None] = field(default_factory=dict)

    def start(self) -> None:
        """Prepare the Adam, once all groups are there."""
        self.parameters = [parameter for own in self.groups.values() for parameter in own]
        #: of Adam, for each parameter: the two moving averages and the number of steps, `(parameters,)` float32
        self.state: dict[str, Any] = {
            "first": [torch.zeros_like(parameter) for parameter in self.parameters],
            "second": [torch.zeros_like(parameter) for parameter in self.parameters],
            "steps": torch.zeros(len(self.parameters), device=self.device),
        }
        #: a tensor where a schedule moves it, which is read at every step
        self.rate: float | Tensor = self.optimiser.lr
        #: whether a norm is looked at on the host; never where steps are captured
        self.asks = self.device.type == "cpu"
        if not self.schedule.off:
            self.rate = torch.tensor(self.optimiser.lr, device=self.device)

    @property
    def name(self) -> str:
        """The groups' names, joined: the same in every process."""
        return "+".join(self.groups)

    def pace(self, factor: float) -> None:
        """Multiply the learning rate that was set by a factor."""
        if isinstance(self.rate, Tensor):
            self.rate.fill_(self.optimiser.lr * factor)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None]) -> list[Tensor]:
        """Move the parameters by their gradients; return each group's gradient norm `()`, before it is clipped."""
        norms, first = [], 0
        for group, own in self.groups.items():
            there = [gradient for gradient in gradients[first : first + len(own)] if gradient is not None]
            first += len(own)
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(there))) if there else self._zero()
            norms.append(norm)
            most = self.clips[group]
            # asking costs nothing on a CPU, and waits for the device elsewhere; times 1 changes no bit
            if most is not None and (not self.asks or bool(norm > most)):
                torch._foreach_mul_(there, (most / (norm + 1e-6)).clamp(max=1.0))
        self.adam(gradients)
        return norms

    def adam(self, gradients: Sequence[Tensor | None]) -> None:
        """Take a step of Adam: what a fused `torch.optim.Adam` calls, without what it does beside at every step."""
        first, second, counts = self.state["first"], self.state["second"], self.state["steps"]
        steps = counts.unbind()
        there = [place for place, gradient in enumerate(gradients) if gradient is not None]
        if len(there) == len(steps):
            counts.add_(1)
        else:  # what has no gradient stays as it is, its number of steps too
            for place in there:
                steps[place].add_(1)
        beta1, beta2 = self.optimiser.betas
        if there:
            torch._fused_adam_(
                [self.parameters[place] for place in there],
                [gradient for gradient in gradients if gradient is not None],
                [first[place] for place in there],
                [second[place] for place in there],
                [],
                [steps[place] for place in there],
                lr=self.rate,  # type: ignore[arg-type]  # a number or a tensor
                beta1=beta1,
                beta2=beta2,
                weight_decay=0.0,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
            )

    def _zero(self) -> Tensor:
        return torch.zeros((), device=self.device)


class Movers(list[Mover]):
    """All movers of a model.

    Args:
        parameters: parameter group -> its parameters; none is without.
        reach: parameter group -> names of the losses that move it.
        rules: say how.
        budget: as does this.
        device: of all parameters.
    """

    def __init__(
        self,
        parameters: Mapping[str, list[nn.Parameter]],
        reach: Mapping[str, frozenset[str]],
        rules: Rules,
        budget: Budget,
        device: torch.device,
    ) -> None:
        super().__init__()
        for group, own in parameters.items():
            optimiser, schedule = rules.optimiser(group, budget), rules.schedule(group, budget)
            way = (reach[group], optimiser, schedule)
            mover = next((mover for mover in self if (mover.losses, mover.optimiser, mover.schedule) == way), None)
            if mover is None:
                self.append(mover := Mover(*way, device))
            mover.groups[group] = own
            mover.clips[group] = _least(rules.clip(group), budget.clipped(group))
        for mover in self:
            mover.start()
        self._of: dict[str, list[Mover]] = {}

    def of(self, loss: str) -> list[Mover]:
        """Return those that a loss moves."""
        if loss not in self._of:
            self._of[loss] = [mover for mover in self if loss in mover.losses]
        return self._of[loss]


def _least(*norms: float | None) -> float | None:
    return min((norm for norm in norms if norm is not None), default=None)
