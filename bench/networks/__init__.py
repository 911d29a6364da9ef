"""Kinds of encoders and decoders, each a plugin: a settings class that a grid names by `kind`; `modules/` has what they
build. Importing a kind imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from bench import lazy_members

if TYPE_CHECKING:
    from bench.networks.modules.convolutions import Convolutions, Transposed
    from bench.networks.modules.dense import Chain, DenseNet, Gated, Headed, perceptron
    from bench.networks.modules.residual import ResidualDecoder, ResidualEncoder

__all__ = [
    "Activation",
    "Chain",
    "Convolutions",
    "DenseNet",
    "Gated",
    "Headed",
    "ResidualDecoder",
    "ResidualEncoder",
    "Transposed",
    "Width",
    "halved",
    "perceptron",
]

Activation = Literal["elu", "relu", "silu", "tanh"]
Width = Annotated[int, Field(ge=1, le=65536)]

__getattr__ = lazy_members(__name__, __file__)


def halved(shape: Sequence[int], times: int) -> str | None:
    """Return why an item of `shape` is no image whose sides can be halved so many times, in words, or None."""
    multiple = 2**times
    if len(shape) in (2, 3) and not any(side % multiple for side in shape[-2:]):
        return None
    layers, item = f"{times} layer{'s' * (times > 1)}", "x".join(map(str, shape))
    wanted = f"needs images whose sides are multiples of {multiple}, and an item here is {item}"
    return f"with {layers} {wanted}; 'mlp' takes any"
