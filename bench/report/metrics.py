"""What the report knows of metrics: their names on paper, which have columns, and which are means over test items."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple


class Meaning(NamedTuple):
    """A metric's heading, what it is, and the setting of an evaluation that a caption names beside it, in `words`.

    Attributes:
        items: whether it is a mean over test items, the same for every model, whose scores lie beside a record as the
            array of its name.
        drawn: whether it is of items that are drawn from the model itself, anew for every training.
        model_free: whether it is of the data alone, so that all trainings have the same.
        corrects: the metric whose scores of all items it corrects by its own of some of them.
        ranks: whether models may be ordered by it.
    """

    title: str
    words: str = ""
    setting: str = ""
    setting_words: str = ""
    items: bool = False
    drawn: bool = False
    model_free: bool = False
    corrects: str = ""
    ranks: bool = True


#: what is said of a metric that ranks no models
BOUND = "an upper bound whose bias differs between strategies"

_VLB = Meaning("VLB", "minus the variational bound (ELBO)", items=True)
_NLL = Meaning(
    "NLL", "importance-weighted negative log-likelihood", "importance_samples", "S = {}", items=True, ranks=False
)
_ANNEALED = Meaning(
    "AIS-NLL", "negative log-likelihood by annealing", "ais_nll.images", "{} items annealed", items=True, corrects="nll"
)

_BASE = "the same of training items in place of draws"

#: metric -> what is said of it; of any other its name is all that is known
MEANINGS = {
    "kl_data": Meaning("KL from the data", "divergence from the data to the model", items=True),
    "nll_exact": Meaning("exact NLL", "negative log-likelihood by quadrature", items=True),
    "vlb": _VLB,
    "nll": _NLL,
    "nll_ais": _ANNEALED,
    "vlb_bits": _VLB,
    "nll_bits": _NLL,
    "nll_ais_bits": _ANNEALED._replace(corrects="nll_bits"),
    "bdmc_lower": Meaning("bdmc_lower", drawn=True),
    "bdmc_upper": Meaning("bdmc_upper", drawn=True),
    "bdmc_gap": Meaning("bdmc_gap", drawn=True),
    "log_z": Meaning("log Z", "log normaliser of the prior"),
    "log_z_check": Meaning("log Z check", "log of the integral of a prior called normalised, best at 0"),
    "kl": Meaning("KL", "divergence of the posterior from the prior"),
    "reconstruction": Meaning("reconstruction", "expected negative log-likelihood given z"),
    "sliced_wasserstein": Meaning("SW", "sliced Wasserstein distance of the model's draws from test items"),
    "c2st": Meaning("C2ST", "accuracy of a classifier of draws against test items, best at .5"),
    "precision": Meaning("precision", "share of draws within the manifold of test items"),
    "recall": Meaning("recall", "share of test items within the manifold of draws"),
    "sliced_wasserstein_base": Meaning("SW of the data", _BASE, model_free=True),
    "c2st_base": Meaning("C2ST of the data", _BASE, model_free=True),
    "precision_base": Meaning("precision of the data", _BASE, model_free=True),
    "recall_base": Meaning("recall of the data", _BASE, model_free=True),
}

# A table has columns of one of these, the first that there are scores of: against a known density, in what images in
# colour are published in, and else. Likelihoods by annealing, the third of a kind, are not always asked for.
EXACT = ("kl_data", "nll_exact")
BITS = ("vlb_bits", "nll_bits", "nll_ais_bits")
NATS = ("vlb", "nll", "nll_ais")
DRAWS = ("sliced_wasserstein", "c2st")  # beside these, where some prior has no density and so no likelihood


def after(unit: str, before: str = " ") -> str:
    """Return what stands after a number or a title: its unit, and nothing of what has none, which is the unit 1."""
    return "" if unit == "1" else f"{before}{unit}"


@lru_cache(maxsize=1024)
def meaning(metric: str) -> Meaning:
    """Return what is said of a metric."""
    return MEANINGS.get(metric, Meaning(metric))


def headline(names: Sequence[str]) -> str:
    """Return the metric by which models are compared where no grid says which; empty where there are no scores.

    The nearest to a likelihood that there is: exact, by annealing, importance-weighted; where there is none, a distance
    between samples.
    """
    order = (EXACT[0], BITS[2], NATS[2], BITS[1], NATS[1], DRAWS[0])
    return next((name for name in order if name in names), next(iter(names), ""))


def with_columns(names: Sequence[str], sampled: bool = False) -> tuple[str, ...]:
    """Return those that have columns in a table; `sampled`: some of its priors can be sampled and have no density."""
    draws = tuple(name for name in DRAWS if name in names)
    for order in (EXACT, BITS, NATS):
        if shown := tuple(name for name in order if name in names):
            return shown + draws if sampled else shown
    return draws or tuple(names[:2])
