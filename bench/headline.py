"""By what a grid's strategies are judged: one metric, and what difference in it is of no interest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from bench.plugins import plain_name
from bench.protocol import Settings, UserError
from bench.words import listed, nearest


class Headline(Settings):
    """The `[headline]` table of a grid."""

    metric: str = Field("", description="name of a metric, such as nll_ais; by default the nearest to a likelihood")
    same_within: dict[str, Annotated[float, Field(gt=0)]] = Field(
        {}, description="data set -> difference in this metric that is of no interest"
    )

    def suits(self, datasets: Sequence[str], blame: Callable[[str], str]) -> None:
        """Refuse margins of data sets that a grid has not.

        Args:
            datasets: the grid's.
            blame: a dotted key -> who wrote it, a file or a `--set`.

        Raises:
            UserError: there is one; the nearest name is given.
        """
        for name in self.same_within:
            if name not in datasets:
                key, hint = f"headline.same_within.{name}", nearest(name, datasets) or ";"
                has = listed(dict.fromkeys(datasets))
                raise UserError(f'{blame(key)}: {key}: the grid has no data set "{name}"{hint} it has {has}')


def keep_margins(source: Mapping[str, Any], names: Sequence[Any]) -> None:
    """Drop the margins of a grid's own data sets that are not among those put in their place."""
    headline = source.get("headline")
    margins = headline.get("same_within") if isinstance(headline, dict) else None
    if isinstance(headline, dict) and isinstance(margins, dict):
        kept = {plain_name(name) for name in names if isinstance(name, str)}
        headline["same_within"] = {name: margin for name, margin in margins.items() if name in kept}
