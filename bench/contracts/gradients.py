"""The contract on gradients: each loss moves the parameter groups that `reach` declares, and no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.contracts.task import shorter
from bench.contracts.verdicts import Breach
from bench.protocol import Run, State, Task
from bench.strategy import Strategy
from bench.training import Batch, Losses, Model


class Watch:
    """Sees what each loss of a training run does to each parameter group.

    Attributes:
        reach: parameter group -> the losses that may move it.
        gives: loss -> groups to which it gives a gradient that is not zero.
        moves: loss -> groups whose parameters its step changed.
    """

    def __init__(self, reach: Mapping[str, frozenset[str]]) -> None:
        self.reach = reach
        self.gives: dict[str, set[str]] = {}
        self.moves: dict[str, set[str]] = {}
        self.groups: dict[str, list[nn.Parameter]] = {}

    def losses(self, losses: Losses) -> Losses:
        """Return the same losses, watched."""

        def watched(model: Model, batch: Batch) -> Iterator[tuple[str, Tensor]]:
            self.groups = {group: list(module.parameters()) for group, module in model.groups.items()}
            before, doing = self._values(), "before its first loss"
            for name, loss in losses(model, batch):
                self._check_still(before, doing)
                self._check_loss(name, loss)
                self._note_gradients(name, loss)
                before = self._values()
                yield name, loss  # the loop takes its step before it asks for the next loss
                after = self._values()
                self.moves.setdefault(name, set()).update(_changed(before, after))
                before, doing = after, f'after the step on "{name}"'
            self._check_still(before, doing)

        return watched

    def _values(self) -> dict[str, Tensor]:
        empty = torch.empty(0)
        return {group: torch.cat([empty, *(p.detach().flatten() for p in self.groups[group])]) for group in self.groups}

    def _check_still(self, before: Mapping[str, Tensor], doing: str) -> None:
        for group in sorted(_changed(before, self._values())):
            raise Breach(f'the parameters of "{group}" change {doing}, outside of the loop\'s own steps')

    def _check_loss(self, name: str, loss: Tensor) -> None:
        if not any(name in losses for losses in self.reach.values()):
            raise Breach(f'no group in reach follows the loss "{name}"')
        rule = "it must be a scalar that depends on a parameter"
        if not isinstance(loss, Tensor):
            raise Breach(f'the loss "{name}" is of type {type(loss).__name__}; {rule}')
        if loss.shape != () or not loss.requires_grad:
            wrong = f"has the shape {tuple(loss.shape)}" if loss.shape != () else "depends on none"
            raise Breach(f'the loss "{name}" {wrong}; {rule}')
        if not bool(loss.isfinite()):
            raise Breach(f'the loss "{name}" is {float(loss.detach())} within the first steps')

    def _note_gradients(self, name: str, loss: Tensor) -> None:
        groups = self.gives.setdefault(name, set())
        for group, parameters in self.groups.items():
            free = [parameter for parameter in parameters if parameter.requires_grad]
            if group not in groups and free:
                gradients = torch.autograd.grad(loss, free, retain_graph=True, allow_unused=True)
                if any(gradient is not None and bool(gradient.any()) for gradient in gradients):
                    groups.add(group)


def _changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    return {group for group, values in after.items() if not torch.equal(before[group], values)}


def check(strategy: Strategy, task: Task, folder: Path) -> str:
    """Train two steps and compare what each loss moves with the strategy's `reach`."""
    reach = strategy.reach
    watch = Watch(reach)
    _watched(strategy, watch).fit(shorter(task, 2), Run(0, "cpu", folder))
    if not watch.moves:
        raise Breach("fit does not train through Strategy.train, so that nobody can see what its losses move")
    losses = dict.fromkeys(loss for group in reach.values() for loss in group)
    declared = {loss: {group for group in reach if loss in reach[group]} for loss in losses}
    for group in reach:
        if group not in watch.groups:
            raise Breach(f'reach names the group "{group}", which the model lacks; it has {_listed(watch.groups)}')
        if reach[group] and not watch.groups[group]:
            raise Breach(f'reach says that {_listed(reach[group])} moves "{group}", which has no parameters')
    for loss in declared:
        if loss not in watch.moves:
            raise Breach(f'reach names the loss "{loss}", which is never given; there is {_listed(watch.moves)}')
    for loss, moved in watch.moves.items():
        said = declared[loss]
        for group in sorted(moved - said):
            raise Breach(f'"{loss}" moves "{group}", which reach does not declare')
        for group in sorted(said - watch.gives[loss]):
            raise Breach(f'reach declares that "{loss}" moves "{group}", but it gives it no gradient')
        for group in sorted(said - moved):
            raise Breach(f'reach declares that "{loss}" moves "{group}", but its step leaves it where it is')
    for group, parameters in watch.groups.items():
        if not reach.get(group) and any(parameter.requires_grad for parameter in parameters):
            advice = "name the losses in reach, or freeze them with requires_grad_(False)"
            raise Breach(f'"{group}" has parameters that no loss moves; {advice}')
    return "; ".join(
        f"{loss} moves {', '.join(filter(moved.__contains__, watch.groups))}" for loss, moved in watch.moves.items()
    )


def _listed(names: Any) -> str:
    return ", ".join(f'"{name}"' for name in sorted(names)) or "none"


def _watched(strategy: Strategy, watch: Watch) -> Strategy:
    """Return the same strategy with every stage of its training watched."""

    class Watched(type(strategy)):  # type: ignore[misc]
        """The strategy, watched."""

        def train(self, model: Model, task: Task, run: Run, losses: Losses, *others: Any) -> State:
            """Train as the strategy does, with watched losses."""
            state: State = super().train(model, task, run, watch.losses(losses), *others)
            return state

    values = {name: getattr(strategy, name) for name in type(strategy).model_fields}
    watched: Strategy = Watched(**values)
    return watched
