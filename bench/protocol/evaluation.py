"""The `[evaluate]` table: how a model is scored."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from bench.protocol.settings import Settings


class Ais(Settings):
    """Annealed importance sampling: at most `repeats` independent runs of `chains` chains over `temperatures`.

    Effort grows until log Z's interval is as narrow as `width` and nothing makes it unreliable. A temperature costs a
    chain one Gibbs sweep where the prior is a GRBM. Other energies have no such sweep: there it costs two evaluations
    of the energy and its gradient, some ten times as much.
    """

    temperatures: int = Field(10_000, ge=2, description="intermediate distributions of a run, at most")
    chains: int = Field(500, ge=2, description="chains a run, at most")
    repeats: int = Field(1, ge=1, description="independent runs, pooled, at most")
    width: float = Field(0.05, gt=0, description="of log Z's interval, in nats, at which less effort will do")


class AisNll(Settings):
    """Log-likelihoods by annealing from q(z|x) to the posterior: of test images, and of images drawn from the model.

    Of all test images, some are annealed, drawn at random once for a data set; the NLL of all is corrected by them.
    A temperature costs a chain two evaluations of the decoder and its gradient. Images drawn from the model are
    annealed both ways, which shows how far off either is.
    """

    images: int = Field(200, ge=0, description="test images to anneal, or all of fewer; 0 leaves them out")
    simulated: int = Field(100, ge=0, description="images drawn from the model; 0 leaves them out")
    temperatures: int = Field(1000, ge=2, description="intermediate distributions of a run")
    chains: int = Field(4, ge=2, description="chains an image")

    @field_validator("images", "simulated")
    @classmethod
    def _no_mean_of_one(cls, count: int) -> int:
        if count == 1:
            raise ValueError("1 is too few for a mean with an error; 0, 2 or more are allowed")
        return count


class Evaluation(Settings):
    """The `[evaluate]` table: one way of scoring for every cell of a grid."""

    seed: int = Field(0, ge=0, description="seed of scoring, separate from the seed of training")
    split: Literal["test", "validation"] = Field(
        "test", description="whose images are scored", exclude_if=lambda split: split == "test"
    )
    images: int | None = Field(
        None, ge=2, description="score the first so many images of the split, or all of fewer; all when absent"
    )
    bound_alone: bool = Field(
        False,
        description="score the VLB, its parts and log Z, and nothing else",
        exclude_if=lambda alone: not alone,
    )
    vlb_samples: int = Field(10, ge=1, description="posterior samples an image for the variational bound")
    importance_samples: int = Field(1000, ge=1, description="posterior samples S an image for the NLL")
    ais: Ais = Field(Ais(), description="for log Z where it has no exact value")
    ais_nll: AisNll = Field(AisNll(), description="for log p(x) by annealing from q(z|x)")
