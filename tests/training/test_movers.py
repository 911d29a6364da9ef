"""Parameters move as `torch.optim.Adam` moves them, and what a step was like is counted."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from bench.protocol import Budget, Optimiser, Schedule
from bench.training.movers import Movers
from bench.training.tally import Tally

CPU = torch.device("cpu")


class Rules:
    """One optimiser for the encoder and the decoder, another for the prior."""

    def optimiser(self, group: str, budget: Budget) -> Optimiser:
        return Optimiser(lr=2e-4, betas=[0.0, 0.9]) if group == "prior" else budget.optimiser

    def schedule(self, group: str, budget: Budget) -> Schedule:
        return Schedule() if group == "prior" else budget.schedule

    def clip(self, group: str) -> float | None:
        return None


REACH = {"encoder": frozenset({"bound"}), "decoder": frozenset({"bound"}), "prior": frozenset({"bound"})}


def three() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {"encoder": nn.Linear(4, 3), "decoder": nn.Linear(3, 4), "prior": nn.Linear(3, 1)}


def movers_of(modules: dict[str, nn.Module], budget: Budget) -> Movers:
    parameters = {group: list(module.parameters()) for group, module in modules.items()}
    return Movers(parameters, REACH, Rules(), budget, CPU)


def gradients(step: int, modules: dict[str, nn.Module]) -> list[Tensor]:
    torch.manual_seed(step)
    return [torch.randn_like(p) for module in modules.values() for p in module.parameters()]


def test_groups_that_move_alike_share_an_adam() -> None:
    assert [list(mover.groups) for mover in movers_of(three(), Budget())] == [["encoder", "decoder"], ["prior"]]


@pytest.mark.parametrize("schedule", [Schedule(), Schedule(warmup=1)], ids=["constant", "warm-up"])
def test_a_step_is_that_of_torchs_adam_bit_by_bit(schedule: Schedule) -> None:
    """Also where a parameter has no gradient at a step."""
    budget = Budget(schedule=schedule)
    modules = three()
    others = copy.deepcopy(modules)
    movers = movers_of(modules, budget)
    adams = []
    for mover in movers:
        own = [p for group in mover.groups for p in others[group].parameters()]
        beta1, beta2 = mover.optimiser.betas
        rate = mover.optimiser.lr if schedule.off or "prior" in mover.groups else torch.tensor(mover.optimiser.lr)
        adams.append(torch.optim.Adam(own, lr=rate, betas=(beta1, beta2), fused=True))
    for step in range(5):
        left: list[Tensor | None] = [*gradients(step, modules)]
        if step == 2:
            left[1] = None
        given = iter(copy.deepcopy(left))
        for mover, adam in zip(movers, adams, strict=True):
            mover.pace((step + 1) / 5)
            for settings in adam.param_groups:
                if isinstance(settings["lr"], Tensor):
                    settings["lr"].fill_(mover.optimiser.lr * (step + 1) / 5)
                for parameter in settings["params"]:
                    parameter.grad = next(given)
            adam.step()
            mover.step(left[: len(mover.parameters)])
            left = left[len(mover.parameters) :]
    for group, module in modules.items():
        for ours, theirs in zip(module.parameters(), others[group].parameters(), strict=True):
            assert torch.equal(ours, theirs)


def test_the_norm_of_a_step_is_that_of_all_gradients_of_a_group() -> None:
    modules = three()
    (movers, _) = movers_of(modules, Budget())
    given = gradients(0, modules)
    encoder, decoder = movers.step(given[:4])
    assert float(encoder) == pytest.approx(math.sqrt(sum(float(g.square().sum()) for g in given[:2])), rel=1e-6)
    assert float(decoder) == pytest.approx(math.sqrt(sum(float(g.square().sum()) for g in given[2:4])), rel=1e-6)


# ---------------------------------------------------------------- the tally


def tallied(values: list[tuple[float, float]]) -> Tally:
    tally = Tally(CPU)
    for loss, norm in values:
        tally.add("bound", torch.tensor(loss), [torch.tensor(norm)], ["encoder"])
        tally.close_step()
    return tally


def test_a_tally_holds_means_and_greatest_norms() -> None:
    tally = tallied([(1.0, 5.0), (4.0, 2.0)])
    assert tally.means == {"bound": 2.5}
    assert {name: figure.value for name, figure in tally.norms.items()} == {"gradient_max_encoder": 5.0}
    assert int(tally.good) == 2


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["loss", "norm"])
def test_a_tally_counts_the_steps_before_the_first_bad_number_whatever_comes_after(bad: float, where: str) -> None:
    step = (bad, 1.0) if where == "loss" else (1.0, bad)
    tally = tallied([(1.0, 1.0), (2.0, 1.0), step, (3.0, 1.0), (-bad, 1.0)])
    assert int(tally.good) == 2
    tally.clear()
    assert int(tally.good) == 0
    assert tally.means == {}
