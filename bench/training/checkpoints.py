"""Checkpoints: tensors and plain types in one file that is never half written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from bench.files import replacing

NAME = "checkpoint.pt"


def save(folder: Path, content: dict[str, Any]) -> None:
    """Write `content` into `folder`, in place of an earlier checkpoint."""
    with replacing(folder / NAME) as file:
        torch.save(content, file)


def load(folder: Path, device: torch.device | str) -> dict[str, Any] | None:
    """Return the checkpoint of `folder` with its tensors on `device`, or None where there is none."""
    path = folder / NAME
    if not path.exists():
        return None
    content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return content
