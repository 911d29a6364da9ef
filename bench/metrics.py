"""Which scores a cell's models may have, as far as that can be known before any is trained.

Names are checked where somebody asks for one: by what a grid is judged, and what tuning chooses by.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import cast

from bench.grid import Cell, Grid
from bench.plugins import Registry, build, plain_name
from bench.protocol import MOST_LATENTS, Dataset, KnownDensity, Metric, Pixels
from bench.words import listed, nearest

#: what scoring gives, and which direction is better (`bench.estimators`)
SCORED = {
    **dict.fromkeys(("vlb", "nll", "nll_ais", "vlb_bits", "nll_bits", "nll_ais_bits"), "lower"),
    **dict.fromkeys(("kl_data", "nll_exact", "sliced_wasserstein", "c2st"), "lower"),
    **dict.fromkeys(("precision", "recall"), "higher"),
    **dict.fromkeys(("kl", "reconstruction", "log_z", "log_z_check"), "neither"),
    **dict.fromkeys(("bdmc_lower", "bdmc_upper", "bdmc_gap"), "neither"),
    **dict.fromkeys(("sliced_wasserstein_base", "c2st_base", "precision_base", "recall_base"), "neither"),
}
BOUND = ("vlb", "kl", "reconstruction", "log_z", "log_z_check")  # of an evaluation that asks for these alone
SHARED = "bench.strategy.general"  # whose `evaluate` gives those; a strategy with one of its own may give any of them


def refusal(metric: str, cell: Cell, registry: Registry) -> str:
    """Return why models of a cell cannot be chosen by a metric, in words, or nothing: they may be.

    Args:
        metric: its name.
        cell: theirs.
        registry: where its data set is found.
    """
    name = f"{plain_name(cell.dataset)} {cell.label}"
    foreign = cell.plugins[0].origin != "built-in"  # it may bring what no one knows
    better = (SCORED if _shared(cell) or not foreign else {}) | _own(cell)
    why = _lacking(metric, cell, registry)
    if better.get(metric, "neither") != "neither" and not why:
        return ""
    ranking = (known for known, direction in better.items() if direction != "neither")
    chosen = [known for known in ranking if not _lacking(known, cell, registry)]
    if metric not in better:
        if foreign:
            return ""
        return (
            f'models of {name} have no score "{metric}"{nearest(metric, chosen) or ";"} they may have {listed(chosen)}'
        )
    if why:
        return f"models of {name} have no score {metric}, for {why}; they may have {listed(chosen)}"
    return f"neither a lower nor a higher {metric} is better; models of {name} may have {listed(chosen)}"


def doubt(metric: str, cells: Iterable[Cell]) -> str:
    """Return what is said of a name that is near a known one and may be a plugin's own, or nothing."""
    known = dict.fromkeys(name for cell in cells for name in SCORED | _own(cell))
    if metric in known or not (hint := nearest(metric, known)):
        return ""
    return f'whether models have a score "{metric}" is seen once one is scored, for a plugin may bring its own{hint}'


def unjudged(grid: Grid, registry: Registry) -> str:
    """Return why there will be no verdicts by the headline metric of a grid, in words, or nothing: there may be."""
    metric = grid.headline.metric
    first = ""
    for cell in {(cell.dataset, cell.label): cell for cell in grid.cells}.values() if metric else ():
        why = refusal(metric, cell, registry)
        if not why:
            found = doubt(metric, [cell])
            return f"headline.metric: {found}" if found else ""
        first = first or why
    return f"no verdicts by headline.metric: {first}" if first else ""


def _own(cell: Cell) -> dict[str, str]:
    """Return the metrics that a strategy's module and those of its bases name, with the better direction of each."""
    modules = {base.__module__: sys.modules.get(base.__module__) for base in cell.plugins[0].load().__mro__}
    named = [value for module in modules.values() if module for value in vars(module).values()]
    return {value.name: value.better for value in named if isinstance(value, Metric)}


def _shared(cell: Cell) -> bool:
    """Tell whether a strategy leaves scoring to what all share."""
    return getattr(getattr(cell.plugins[0].load(), "evaluate", None), "__module__", "") == SHARED


def _lacking(metric: str, cell: Cell, registry: Registry) -> str:
    """Return what the shared scoring lacks for one of its metrics, in words; nothing where it may give it."""
    if metric not in SCORED or not _shared(cell):
        return ""
    evaluation, latent = cell.evaluation, cell.networks["latent"]
    if evaluation.bound_alone and metric not in BOUND:
        return "evaluate.bound_alone = true"
    if metric.startswith("nll_ais") and not evaluation.ais_nll.images:
        return "evaluate.ais_nll.images = 0"
    if metric.startswith("bdmc") and not evaluation.ais_nll.simulated:
        return "evaluate.ais_nll.simulated = 0"
    name = plain_name(cell.dataset)
    data = cast(Dataset, build(cell.plugins[1], cell.options, name, registry.component))
    if metric.endswith("_bits") and not isinstance(data, Pixels):
        return f"{name} is scored in nats"
    if metric in ("kl_data", "nll_exact"):
        if not isinstance(data, KnownDensity):
            return f"no density of {name} is known"
        if latent > MOST_LATENTS:
            return f"networks.latent = {latent} is above {MOST_LATENTS}"
    return ""
