"""The glossary: every term of a report explained once, as far as the report uses it."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.accounts import LAG, R_HAT
from bench.report.findings import needs
from bench.report.metrics import BITS, DRAWS, EXACT, NATS, meaning
from bench.report.tables import Table

_METRICS = {
    "kl_data": "how far the model's density is from the data's, whose density is known here; 0 at best",
    "nll_exact": "-log p(x) of a test item, by quadrature over z",
    "vlb": "minus the variational bound (ELBO) on log p(x), log Z of the prior included; never below the NLL",
    "nll": "-log p(x) by importance sampling with S samples of q(z|x): too high by a bias that differs between"
    " strategies, so that it ranks nothing unless it is exact",
    "nll_ais": "-log p(x), importance-weighted and corrected by annealed importance sampling (AIS) on some test items",
    "sliced_wasserstein": "distance of the model's samples from test items",
    "c2st": "how often a classifier tells samples from test items; .5 at best",
}
_ALIKE = dict(zip(BITS, NATS, strict=True))


def glossary(tables: Sequence[Table], shown: Sequence[str], wide: bool = False) -> list[tuple[str, str]]:
    """Return terms and what they mean, in the order of a table's columns.

    Args:
        tables: of the report.
        shown: names of the metrics that have columns.
        wide: whether cost and stability are shown as well.
    """
    rows = [row for table in tables for row in table.rows if row.outcomes]
    if not rows:
        return []
    judged = [table for table in tables if table.headline]
    terms: list[tuple[str, str]] = [("seeds", "independent trainings: those that came to scores, of those planned")]
    for name in (*EXACT, *NATS, *BITS, *DRAWS):
        term = meaning(name).title, _METRICS[_ALIKE.get(name, name)]
        if name in shown and term not in terms:
            terms.append(term)
    if any(name in BITS for name in shown):
        terms.append(("bits/dim", "nats on the pixels' scale, divided by log 2 and by the number of values an image"))
    lone = any(score.n == (1,) for row in rows for score in row.scores.values())
    alone = "; of a single seed it says nothing of other trainings" if lone else ""
    whole = "95 % interval over new trainings and new test items, widened by what log Z leaves open"
    terms.append(("[a, b]", f"{whole}{alone}"))
    if judged:
        base = judged[0].baseline
        terms += [
            (f"vs {base}", f"the mean minus {base}'s, test items paired"),
            (
                "verdict",
                f"better or worse than {base}: at 5 % after Holm's adjustment for all comparisons of the table",
            ),
        ]
        margins = {
            t.margin for t in judged for row in t.rows if t.margin and row.verdict and row.verdict.kind == "same"
        }
        if margins:
            within = ", ".join(f"{margin:g}" for margin in sorted(margins))
            terms.append(
                ("same", f"the difference is shown to lie within {within}, which the grid calls of no interest")
            )
        terms.append(("undecided", "neither is shown; no statement that both are the same"))
        if any(needs(table) for table in judged):
            within = " or lie within the margin" if any(table.margin for table in judged) else ""
            decided = f"the interval, around the same difference, would leave out 0{within}"
            terms.append(("would need", f"seeds with which {decided} in 80 % of cases"))
    terms += [
        ("fit", "training of one seed, without scoring: the median over seeds"),
        ("worst jump", "the largest factor by which a gradient's norm rose from one epoch to the next, worst seed"),
    ]
    if any(row.seeds("log_z") for row in rows):
        terms.append(
            (
                "log Z",
                "log normaliser of a prior that is given by an energy; exact, or estimated with an interval",
            )
        )
    if any(table.lead and row.unreliable(table.lead.name) for table in tables for row in table.rows):
        terms.append(("unreliable", "the estimator's own checks say that it has not converged; no verdict rests on it"))
    if any(outcome.stale for row in rows for outcome in row.outcomes.values()):
        terms.append(("stale", "recorded by earlier code of bench"))
    if wide:
        outcomes = [outcome for row in rows for outcome in row.outcomes.values()]
        lag = "how far the mean energy of posterior samples is from that of the prior's own samples; 0 at best"
        terms.append(("overhead", "start, loading, checkpoints and writing"))
        if any(outcome.status == "diverged" for outcome in outcomes):
            terms.append(("first bad step", "of the first seed that left the finite numbers"))
        if any(LAG in outcome.stability for outcome in outcomes):
            terms.append(("prior lag", lag))
        if any(row.seeds(R_HAT) for row in rows):
            terms.append(("R-hat", "how far the chains of the prior's sampler disagree; 1 at best"))
    return terms
