"""What can be run: strategies and data sets with their options, and the grids that come with bench."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from bench import grid
from bench.plugins import Description, Registry


@dataclass(frozen=True)
class Listing:
    """Descriptions of all plugins, broken ones included, and the names of the embedded grids."""

    strategies: tuple[Description, ...]
    datasets: tuple[Description, ...]
    grids: tuple[str, ...]


def find(registry: Registry) -> Listing:
    """Describe everything that `registry` knows."""
    return Listing(tuple(registry.describe("strategy")), tuple(registry.describe("dataset")), tuple(grid.embedded()))


def plain(found: Listing) -> dict[str, Any]:
    """Return the listing for a program to read."""
    content = asdict(found)
    for description in (*content["strategies"], *content["datasets"]):
        description["file"] = str(description["file"])
    return content


def text(found: Listing, *, verbose: bool = False) -> str:
    """Return the listing for a person: a line a plugin; where `verbose`, its file and fields below."""
    width = max((len(one.name) for one in (*found.strategies, *found.datasets)), default=0)
    lines = ["strategies", *_plugins(found.strategies, width, verbose)]
    lines += ["", "data sets", *_plugins(found.datasets, width, verbose)]
    lines += ["", "grids", *(f"  {name}" for name in found.grids)]
    return "\n".join(lines)


def _plugins(descriptions: Iterable[Description], width: int, verbose: bool) -> Iterator[str]:
    for one in descriptions:
        origin = "" if one.origin == "built-in" else f"  [{one.origin}]"
        said = f"does not load: {one.error}" if one.error else one.summary
        yield f"  {one.name:{width}}  {said}{origin}"
        if verbose:
            yield f"      file: {one.file}"
            for option in one.fields:
                parts = [option.type, option.bounds]
                parts.append("required" if option.required else f"default {json.dumps(option.default)}")
                if option.search:
                    parts.append(f"tuned over {_searched(option.search)}")
                yield f"      {option.key}: {', '.join(filter(None, parts))}"
                if option.description:
                    yield f"          {option.description}"


def _searched(search: dict[str, Any]) -> str:
    if search.get("choices"):
        return ", ".join(json.dumps(choice) for choice in search["choices"])
    return f"{search['low']} .. {search['high']}{' (logarithmic)' if search.get('log') else ''}"
