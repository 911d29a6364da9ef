"""What training was like over an epoch: sums and extremes, kept on the device so that no step waits for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.priors.density import Figure


class Tally:
    """Losses and gradient norms of the steps of an epoch, and how many steps had finite ones.

    Attributes:
        sums: loss -> the sum of what it was and of the gradient norms that it gave, `(1 + groups,)`. A number that is
            not finite stays in them.
        greatest: loss -> the greatest of these, the same shape.
        groups: loss -> the parameter groups of these norms.
        counts: loss -> how often it was taken.
        good: steps before the first number that is not finite, `()` int64.
    """

    def __init__(self, device: torch.device) -> None:
        self.sums: dict[str, Tensor] = {}
        self.greatest: dict[str, Tensor] = {}
        self.groups: dict[str, list[str]] = {}
        self.counts: dict[str, int] = {}
        self.good = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, name: str, loss: Tensor, norms: Sequence[Tensor], groups: Sequence[str]) -> None:
        """Count a loss `()` of a step and the gradient norms `()` that it gave parameter groups."""
        values = torch.stack([loss.detach(), *norms])
        if name not in self.sums:
            self.sums[name], self.greatest[name] = torch.zeros_like(values), torch.full_like(values, -math.inf)
            self.groups[name], self.counts[name] = list(groups), 0
        self.sums[name].add_(values)
        torch.maximum(self.greatest[name], values, out=self.greatest[name])
        self.counts[name] += 1

    def close_step(self) -> None:
        """End a step."""
        total = sum(own.sum() for own in self.sums.values())
        self.good.add_(total - total == 0)

    def clear(self) -> None:
        """Begin another epoch, in the same tensors: a captured step goes on to add to them."""
        for name in self.sums:
            self.sums[name].zero_()
            self.greatest[name].fill_(-math.inf)
            self.counts[name] = 0
        self.good.zero_()

    def count(self, losses: Mapping[str, int]) -> None:
        """Count on the host what a replayed step added on the device, loss -> how often it takes it."""
        for name, number in losses.items():
            self.counts[name] += number

    def forget(self, counts: Mapping[str, int]) -> None:
        """Go back to earlier counts, and to the losses that they know: what came since never happened."""
        for name in self.counts.keys() - counts.keys():
            del self.sums[name], self.greatest[name], self.groups[name]
        self.counts = dict(counts)

    @property
    def means(self) -> dict[str, float]:
        """The mean of each loss so far, however often a step takes it; waits for the device."""
        return {name: float(own[0]) / self.counts[name] for name, own in self.sums.items() if self.counts[name]}

    @property
    def norms(self) -> dict[str, Figure]:
        """The greatest gradient norm of each parameter group so far; waits for the device."""
        found: dict[str, float] = {}
        for name, own in self.greatest.items():
            if not self.counts[name]:
                continue
            for group, norm in zip(self.groups[name], own[1:].tolist(), strict=True):
                before = found.get(group, norm)
                found[group] = norm if norm > before or norm != norm else before  # a NaN stays
        return {f"gradient_max_{group}": Figure(norm, max) for group, norm in found.items()}

    def state(self) -> dict[str, Any]:
        """Return all of it, for a checkpoint."""
        return vars(self)

    def load(self, state: dict[str, Any]) -> None:
        """Take on what `state` returned."""
        vars(self).update(state)
