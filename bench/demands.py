"""What data, networks, budget and scoring demand of each other: a cell is refused in words before it is trained.

A dry run, a sweep, a worker and `bench.strategy(...).train` ask the same functions. None of them imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.protocol import (
    MOST_LATENTS,
    Budget,
    DataError,
    Dataset,
    Evaluation,
    Items,
    KnownDensity,
    Networks,
    Pixels,
    Splits,
    UserError,
)

__all__ = ["Refusal", "check", "declared", "loaded", "refusal", "without_bits"]

FEWEST = 2  # of training items, for the moments of q(z), and of test items, for a mean with an error
FEWEST_POINTS = 10  # items to score against a known density: fewer cannot be parted, and their distance has no error


@dataclass(frozen=True)
class Refusal:
    """Why a data set, networks, a budget and an evaluation do not go together.

    Attributes:
        key: of the grid, dotted: what to change.
        reason: in words.
    """

    key: str
    reason: str


def refusal(
    dataset: Dataset, items: Items | None, networks: Networks, budget: Budget, evaluation: Evaluation
) -> Refusal | None:
    """Return why these do not go together, or None.

    Args:
        dataset: the data set.
        items: what it holds; None where that is not known yet, so that only the rest is looked at.
        networks, budget, evaluation: of a cell.
    """
    if reason := without_bits(dataset):
        return Refusal("dataset", reason)
    if reason := dataset.refuses(networks):
        return Refusal("networks", reason)
    if items is None:
        return None
    if items.train < FEWEST or items.test < FEWEST:
        needed = f"{FEWEST} or more to train on and {FEWEST} or more to score are needed"
        return Refusal("dataset", f"it has {items}; {needed}")
    if (evaluation.split == "validation" or not budget.early_stopping.off) and items.validation < FEWEST:
        key = "evaluate.split" if evaluation.split == "validation" else "train.early_stopping"
        asked = 'evaluate.split = "validation"' if evaluation.split == "validation" else "train.early_stopping"
        needed = f"it has {items}; {asked} needs {FEWEST} or more to validate on"
        return Refusal(key, f"{needed}, which the data set's own option sets apart, such as validation = 1000")
    if reason := networks.refuses(items.shape):
        return Refusal("networks", reason)
    if reason := budget.refuses(items):
        return Refusal("train.batch_size", reason)
    compared = isinstance(dataset, KnownDensity) and networks.latent <= MOST_LATENTS
    held = items.validation if evaluation.split == "validation" else items.test
    scored = min(held, evaluation.images or held)
    if compared and min(scored, items.train) < FEWEST_POINTS:
        few = f"{scored:,} {evaluation.split} items (evaluate.images) and {items.train:,} training items are too few"
        return Refusal("evaluate.images", f"{few} for the distance to a known density; {FEWEST_POINTS} or more will do")
    return None


def check(
    name: str, dataset: Dataset, items: Items | None, networks: Networks, budget: Budget, evaluation: Evaluation
) -> None:
    """Do the same, with the data set's name.

    Raises:
        UserError: they do not go together.
    """
    if refused := refusal(dataset, items, networks, budget, evaluation):
        raise UserError(f"data set {name!r}: {refused.reason}")


def without_bits(dataset: Dataset) -> str | None:
    """Return why a data set's scores cannot be had in the unit that it names, or None."""
    if getattr(dataset, "unit", None) != "bits/dim" or isinstance(dataset, Pixels):
        return None
    lacking = " and ".join(name for name in ("log_jacobian", "brightness") if not hasattr(dataset, name))
    how = "extend bench.data.dequantised.Dequantised, or say unit = 'nats'"
    return f"its unit is 'bits/dim', and it has no change of variables from its pixels ({lacking}); {how}"


def declared(dataset: Dataset) -> Items | None:
    """Return what a data set says that it holds, before it is loaded; None where it does not say.

    Raises:
        DataError: it says something else.
    """
    holds = getattr(dataset, "holds", None)  # what does not extend the base class may lack it
    try:
        said = holds() if callable(holds) else None
    except Exception as error:  # a plugin's own mistake is told like any other reason
        raise DataError(f"{type(dataset).__name__}.holds fails: {type(error).__name__}: {error}") from error
    if said is not None and not isinstance(said, Items):
        gives = f"{type(dataset).__name__}.holds gives a {type(said).__name__}"
        raise DataError(f"{gives}; it must give bench.protocol.Items, or None")
    return said


def loaded(dataset: Dataset, folder: Path) -> Splits:
    """Return a data set's splits, which are what it says that they are.

    Raises:
        DataError: they cannot be had, are not those that it declares, or have a flaw; without the data set's name.
    """
    splits = dataset.load(folder)
    said = declared(dataset)
    if said is not None and said != splits.items:
        raise DataError(f"{type(dataset).__name__}.holds says {said}, and load gives {splits.items}")
    flaw = getattr(dataset, "flaw", None)
    if callable(flaw) and (reason := flaw(splits)):
        raise DataError(reason)
    return splits
