"""The `[train]` table: how long and how a model is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from bench.protocol.settings import Search, Settings

if TYPE_CHECKING:
    from bench.protocol.data import Items


class Optimiser(Settings):
    """An optimiser and its learning rate."""

    name: Literal["adam"] = Field("adam", description="the optimiser")
    lr: Annotated[float, Search(low=1e-4, high=1e-2, log=True)] = Field(1e-3, gt=0, le=10, description="learning rate")
    betas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(
        [0.9, 0.999], min_length=2, max_length=2, description="Adam's decay rates"
    )


class Checkpoint(Settings):
    """How often training is saved: every `steps` steps (if given) and every `minutes` minutes."""

    minutes: float = Field(2.0, gt=0, description="at most so long between two checkpoints")
    steps: int | None = Field(None, ge=1, description="at most so many steps between two checkpoints")


class Schedule(Settings):
    """How a learning rate moves with the step.

    Over a warm-up of W steps it rises in a straight line to the whole rate, which it has at the W-th. A `step`
    multiplies it by `share` for the last `epochs`; a `cosine` falls to `share`, which it has at the last step, within
    the last `epochs`, or from the end of the warm-up on.
    """

    kind: Literal["constant", "step", "cosine"] = Field("constant", description="how the rate ends")
    share: float = Field(1.0, ge=0, le=1, description="of the rate, at the end")
    epochs: float = Field(0.0, ge=0, description="the last so many, in which it comes to that; 0: a cosine's are all")
    warmup: float = Field(0.0, ge=0, description="epochs of the warm-up")

    @model_validator(mode="after")
    def _its_parts_go_together(self) -> Self:
        if self.kind == "constant" and (self.share != 1 or self.epochs):
            raise ValueError("a constant rate has neither share nor epochs; kind = 'step' or 'cosine' is allowed")
        if self.kind != "constant" and self.share == 1:
            raise ValueError(f"kind = {self.kind!r} needs a share below 1, to which the rate comes")
        if self.kind == "step" and not (self.epochs and self.share):
            raise ValueError("kind = 'step' needs epochs above 0, the last so many, and a share above 0")
        return self

    @property
    def off(self) -> bool:
        """Whether the rate never moves."""
        return self.kind == "constant" and not self.warmup

    def refuses(self, epochs: int) -> str | None:
        """Return why training of so many epochs cannot follow it, in words, or None."""
        if self.warmup + self.epochs <= epochs and (self.warmup < epochs or self.kind == "constant"):
            return None
        parts = f"a warm-up of {self.warmup:g} and an end of {self.epochs:g} epochs"
        return f"{parts} do not go into {epochs} epochs of training"


class Clip(Settings):
    """The norm to which the gradient of each of these parameter groups is clipped."""

    encoder: float | None = Field(None, gt=0, description="that of the encoder")
    decoder: float | None = Field(None, gt=0, description="that of the decoder")


class Average(Settings):
    """The exponential moving average of the weights, which is validated and scored in their place.

    After step t it weighs those after step s by decay^(t - s), over the sum of these weights.
    """

    decay: float = Field(0.0, ge=0, lt=1, description="of an average's weights from step to step; 0: no average")

    @property
    def off(self) -> bool:
        """Whether nothing is averaged."""
        return not self.decay


class Warmup(Settings):
    """How the KL term comes in: its weight rises in a straight line to 1, which it has at the end of so many epochs."""

    epochs: float = Field(0.0, ge=0, description="of the rise; 0: the weight is 1 throughout")

    @property
    def off(self) -> bool:
        """Whether the weight is 1 throughout."""
        return not self.epochs


class EarlyStopping(Settings):
    """Training ends where the validation bound has not become better for so many epochs, and keeps the best state.

    Epochs count from the end of every warm-up. The bound compared takes the upper end of log Z's interval: the best of
    noisy estimates is otherwise the one in which log Z is most understated.
    """

    patience: int = Field(0, ge=0, description="epochs without a better validation bound; 0: training never ends early")

    @property
    def off(self) -> bool:
        """Whether training never ends early."""
        return not self.patience


def _is_off(option: Schedule | Average | Warmup | EarlyStopping) -> bool:
    return option.off


def _is_none(option: Any) -> bool:
    return option is None


class Budget(Settings):
    """The `[train]` table: one budget for every cell of a grid.

    What came later is off by default, and what is off is not among a budget's plain values: the cells of a grid that
    says nothing of it keep their ids, and published protocols are told as they were.
    """

    epochs: int = Field(100, ge=1, description="passes over the training data")
    batch_size: int = Field(64, ge=1, description="images or points a step; the last, smaller batch is dropped")
    optimiser: Optimiser = Field(Optimiser(), description="for encoder and decoder")
    # how often a cell is saved does not change what it computes, so it is no part of a cell's id
    checkpoint: Checkpoint = Field(Checkpoint(), description="how often training is saved", exclude=True)
    schedule: Schedule = Field(
        Schedule(), description="of this optimiser's rate, for whatever it moves", exclude_if=_is_off
    )
    clip: Annotated[float, Field(gt=0)] | Clip | None = Field(
        None, description="norm to which the gradients of encoder and decoder are clipped, each", exclude_if=_is_none
    )
    average: Average = Field(Average(), description="of the weights, in place of the latest", exclude_if=_is_off)
    warmup: Warmup = Field(Warmup(), description="of the KL term", exclude_if=_is_off)
    early_stopping: EarlyStopping = Field(EarlyStopping(), description="on the validation bound", exclude_if=_is_off)

    @field_validator("clip")
    @classmethod
    def _one_way_to_say_it(cls, clip: float | Clip | None) -> float | Clip | None:
        return clip.encoder if isinstance(clip, Clip) and clip.encoder == clip.decoder else clip

    @model_validator(mode="after")
    def _there_is_time_for_it(self) -> Self:
        if reason := self.schedule.refuses(self.epochs):
            raise ValueError(f"schedule: {reason}")
        if self.warmup.epochs > self.epochs:
            raise ValueError(
                f"warmup.epochs = {self.warmup.epochs:g} is more than the {self.epochs} epochs of training"
            )
        return self

    def clipped(self, group: str) -> float | None:
        """Return the norm to which the gradient of a parameter group is clipped, or None."""
        if isinstance(self.clip, Clip):
            return {"encoder": self.clip.encoder, "decoder": self.clip.decoder}.get(group)
        return self.clip if group in ("encoder", "decoder") else None

    @property
    def options(self) -> dict[str, dict[str, Any] | None]:
        """What is on of `schedule`, `clip`, `average` and `warmup`, by the names that a record has for them."""
        clip = {"encoder": self.clipped("encoder"), "decoder": self.clipped("decoder")}
        return {
            "schedule": None if self.schedule.off else self.schedule.model_dump(mode="json"),
            "clip": None if self.clip is None else clip,
            "averaging": None if self.average.off else self.average.model_dump(mode="json"),
            "warmup": None if self.warmup.off else self.warmup.model_dump(mode="json"),
        }

    def refuses(self, items: Items) -> str | None:
        """Return why such a data set would not be trained on at all, in words, or None."""
        if items.train >= self.batch_size:
            return None
        kept = f" (validation keeps {items.validation:,})" if items.validation else ""
        least = f"is more than the {items.train:,} items to train on{kept}, so that no step would be made"
        return f"train.batch_size = {self.batch_size} {least}; at most {items.train} is allowed"
