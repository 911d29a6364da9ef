"""Encoder, decoder and energy, as plugins bring them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from bench.protocol.settings import Component, Settings

if TYPE_CHECKING:
    from torch import nn

    from bench.priors import Density


class Network(Component):
    """How an encoder or decoder is built."""

    plugin: ClassVar[str] = "network"
    usual: ClassVar[str] = "mlp"

    @abstractmethod
    def encoder(self, shape: Sequence[int], outputs: int) -> nn.Module:
        """Return a module from items of `shape`, flat `(..., D)`, to `(..., outputs)`."""

    @abstractmethod
    def decoder(self, inputs: int, shape: Sequence[int]) -> nn.Module:
        """Return a module from `(..., inputs)` to items of `shape`, flat `(..., D)`."""

    def refuses(self, shape: Sequence[int]) -> str | None:
        """Return why this network cannot do items of `shape`, as the end of "networks.encoder.kind = ...", or None."""
        return None


HIDDEN = "hidden units"  # h that make z normal: block Gibbs samples it
TILT = "tilt of N(0, I)"  # it is N(0, I) times exp(-f(z)) with an f of slow growth, so that it has an integral


class Energy(Component):
    """How an energy-based prior is built.

    Attributes:
        offers: what the density has that some strategies or samplers need: `HIDDEN` units for block Gibbs, a `TILT`.
        proper: whether exp(-E) has an integral whatever its parameters are. Where it need not have one, say False.
    """

    plugin: ClassVar[str] = "energy"
    usual: ClassVar[str] = "grbm"
    offers: ClassVar[frozenset[str]] = frozenset()
    proper: ClassVar[bool] = True

    @abstractmethod
    def build(self, latent: int) -> Density:
        """Return a fresh density over z `(..., latent)`, on the CPU; torch's global generator is seeded."""


class Networks(Settings):
    """The `[networks]` table: encoder, decoder and the dimension of z."""

    encoder: Network = Field(description="x -> mean and log-variance of q(z|x)")
    decoder: Network = Field(description="z -> parameters of p(x|z)")
    latent: Annotated[int, Field(ge=1, le=65536)] = Field(64, description="dimension d of z")

    def refuses(self, shape: Sequence[int]) -> str | None:
        """Return why these networks cannot do items of `shape`, in words, or None."""
        for part, network in (("encoder", self.encoder), ("decoder", self.decoder)):
            if reason := network.refuses(shape):
                return f"networks.{part}.kind = {network.name!r} {reason}"
        return None
