"""How a figure becomes files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS = 200  # an inch


def save(figure: Figure, out: Path, stem: str, endings: Sequence[str] = ("png", "pdf")) -> list[str]:
    """Write a figure into a folder, whole or not at all, once for each ending; return the files' names."""
    names = [f"{stem}.{ending}" for ending in endings]
    for name, ending in zip(names, endings, strict=True):
        with replacing(out / name) as file:
            # without a date, so that the same records make the same file
            metadata = {"CreationDate": None} if ending == "pdf" else None
            figure.savefig(file, format=ending, dpi=DOTS, metadata=metadata)
    return names
