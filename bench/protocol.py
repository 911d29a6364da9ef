"""The contracts between the science of a benchmark and its operation; the ground floor of both.

A *data set* loads `Splits` and prepares batches. A *strategy* is a prior and the way it is trained: `fit` turns a
`Task` into a `State`, `evaluate` turns a state into `Scores`. The operations side fills the task from a grid and
hands it over with a `Run`; it never looks inside a state. Nothing here imports torch at run time.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import isabstract
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    NotRequired,
    Protocol,
    Self,
    TypedDict,
    runtime_checkable,
)

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import core_schema

from bench.words import UserError as UserError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from bench.priors import Density


# ---------------------------------------------------------------- settings: what a grid may say


class Settings(BaseModel):
    """A validated, frozen model: types are strict, infinities and unknown keys are errors."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


@dataclass(frozen=True)
class Search:
    """The range in which a hyper-parameter is tuned; put into a field's `Annotated` metadata."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: Sequence[Any] | None = None


class Component(Settings):
    """A part of a model that a plugin brings: a settings class that a grid names by `kind`, its own fields beside that.

    Where a settings model has a field of one of the base classes below, a table there is validated by the class that
    its `kind` names. Validation finds that class by its context, which is `plugins.Registry.component`.

    Attributes:
        plugin: the kind of plugin that brings it.
        name: set by the registry; `kind` in a table.
        usual: the kind of a table that names none.
        capturable: whether what it builds does nothing in a step of training but on the device
            (`bench.strategy.Strategy.capturable`). It counts for the very class that says so.
    """

    plugin: ClassVar[str] = ""
    name: ClassVar[str] = ""
    usual: ClassVar[str] = ""
    capturable: ClassVar[bool] = False

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Let a field of a base class take a table of any kind; the kinds themselves are settings like others."""
        schema = handler(source)
        return core_schema.with_info_wrap_validator_function(cls._by_kind, schema) if isabstract(cls) else schema

    @classmethod
    def _by_kind(cls, value: Any, handler: Callable[[Any], Any], info: core_schema.ValidationInfo) -> Any:
        if not isinstance(value, Mapping):
            return handler(value)
        kind = value.get("kind", cls.usual)
        if info.context is None:
            raise ValueError(f"the kind {kind!r} is a plugin's, and there is nothing to find plugins with")
        fields = json.dumps({key: field for key, field in value.items() if key != "kind"}, default=str)
        # as JSON, like the whole: only so are TOML's arrays tuples and its text paths
        return info.context(cls, kind).model_validate_json(fields, context=info.context)

    @model_serializer(mode="plain")
    def _with_kind(self) -> dict[str, Any]:
        return {"kind": self.name, **{field: getattr(self, field) for field in type(self).model_fields}}


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


# ---------------------------------------------------------------- what flows between the two sides


@dataclass(frozen=True)
class Items:
    """How many items a data set has, and of what shape: what networks, budget and scoring must suit.

    Attributes:
        shape: of an item as it is stored.
        train, test, validation: how many there are in each split.
    """

    shape: tuple[int, ...]
    train: int
    test: int
    validation: int = 0

    def __str__(self) -> str:
        """Return `1,500 train, 0 validation and 297 test items of 8x8`."""
        shape = "x".join(map(str, self.shape))
        return f"{self.train:,} train, {self.validation:,} validation and {self.test:,} test items of {shape}"


@dataclass(frozen=True)
class Splits:
    """A data set's arrays as stored: `uint8` images or `float32` points, first axis the item.

    `sha256` is the digest of the training, validation and test arrays, in that order.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    sha256: str

    @property
    def items(self) -> Items:
        """How many there are, and of what shape."""
        return Items(tuple(self.train.shape[1:]), len(self.train), len(self.test), len(self.validation))


class Noise(Protocol):
    """A stream of random tensors, on one device, that depends on its seed alone. Shapes are always full."""

    device: Any

    def normal(self, *shape: int) -> Tensor:
        """Return independent N(0, 1) draws."""

    def uniform(self, *shape: int) -> Tensor:
        """Return independent U[0, 1) draws."""

    def rademacher(self, *shape: int) -> Tensor:
        """Return independent draws of -1 or +1."""

    def integers(self, high: int, *shape: int) -> Tensor:
        """Return independent integers of 0 .. high - 1 (int64)."""

    def permutation(self, n: int) -> Tensor:
        """Return 0 .. n - 1 in random order (int64)."""


LikelihoodName = Literal["bernoulli", "gaussian", "laplace"]


class LikelihoodClass(Protocol):
    """What builds a likelihood: a class that extends `bench.vae.Likelihood`, or a static method that returns one."""

    def __call__(self) -> nn.Module:
        """Return a fresh likelihood."""


Likelihood = LikelihoodName | LikelihoodClass
Unit = Literal["nats", "bits/dim"]


class Dataset(Protocol):
    """A data set plugin: a settings model of its options that loads splits and prepares batches."""

    name: ClassVar[str]
    version: ClassVar[str]
    likelihood: ClassVar[Likelihood]
    unit: ClassVar[Unit]

    def refuses(self, networks: Networks) -> str | None:
        """Return why `networks` cannot do these items, in words that name the key and what is allowed, or None."""

    def holds(self) -> Items | None:
        """Return what `load` will give, from the options alone; None where that is not known before."""

    def flaw(self, splits: Splits) -> str | None:
        """Return why what `load` gave cannot be what this data set says it is, in words, or None."""

    def load(self, folder: Path) -> Splits:
        """Return the splits, from `folder` or downloaded into it and verified.

        Raises:
            DataError: they cannot be had; the message says what to do.
        """

    def prepare(self, x: Tensor, noise: Noise) -> Tensor:
        """Turn stored items `(B, ...)` into what the likelihood scores, `(B, D)` float, drawing from `noise`."""

    def fixed(self, x: Tensor) -> Tensor:
        """Prepare test items `(N, ...)` the same way in every cell: with noise keyed to the data set alone."""


@runtime_checkable
class Pixels(Protocol):
    """A data set of dequantised images that knows its change of variables, and is scored in bits per dimension."""

    def log_jacobian(self, x: Tensor) -> Tensor:
        """Return log |det dx/dv|, `(N,)` float64, nats, at prepared x `(N, D)`; a pixel is v in 0 .. 256."""

    def brightness(self, x: Tensor) -> Tensor:
        """Return the brightness, 0 .. 1, of prepared pixels of any shape."""


MOST_LATENTS = 2  # dimensions of z in which a model's density is had by quadrature, to be compared with a known one


@runtime_checkable
class KnownDensity(Protocol):
    """A data set of points in the plane with an exact density.

    `window` is half the side of the square around 0 that pictures show.
    """

    window: ClassVar[float]

    def log_density(self, x: Tensor) -> Tensor:
        """Return log p(x), `(N,)`, nats, for prepared x `(N, 2)`."""


@dataclass(frozen=True)
class Task:
    """What a cell asks of a strategy."""

    dataset: Dataset
    splits: Splits
    networks: Networks
    budget: Budget
    evaluation: Evaluation

    @property
    def scored(self) -> np.ndarray:
        """The items that are scored, as stored: those of the evaluation's split, the first `images` of them."""
        split = self.splits.validation if self.evaluation.split == "validation" else self.splits.test
        return split[: self.evaluation.images]


def _silent(**_: Any) -> None:
    """Report to nobody."""


def _never() -> bool:
    return False


def _unheard(sentence: str) -> None:
    """Say it to nobody."""


@dataclass(frozen=True)
class Run:
    """How a task is carried out, in plain terms.

    Attributes:
        seed: seed of training; every stream of randomness derives from it.
        device: a torch device, such as `cpu` or `cuda:0`.
        folder: where checkpoints lie; what is found there is resumed.
        progress: called as `progress(stage="fit", done=120, total=900, epoch=3, vlb=101.2)`; further keywords are
            figures to show.
        stop_requested: asked now and then; once it is true, save a checkpoint and raise `Stopped`.
        note: takes a sentence that the user should read, such as that a damaged checkpoint was set aside.
    """

    seed: int
    device: str
    folder: Path
    progress: Callable[..., None] = _silent
    stop_requested: Callable[[], bool] = _never
    note: Callable[[str], None] = _unheard


class Execution(TypedDict):
    """How steps of training were taken.

    `captured`: once, and then replayed by the device; else `reason` says why one after another.
    """

    captured: bool
    reason: str


class State(TypedDict):
    """What `fit` leaves: tensors and plain types, so that `torch.load(weights_only=True)` reads it.

    `modules` maps each parameter group to its state dict, of averaged weights where the budget asks for them; `latest`
    has the latest ones then, if the strategy has an adversary or a critic, which follows those. `curves` has rows
    `{epoch, step, metric, value}`.
    `stability` and `resources` map names to numbers (seconds, bytes, counts); where training could end early, `epochs`
    is how many it took. `execution` is there where training took steps.
    """

    modules: dict[str, dict[str, Tensor]]
    latest: NotRequired[dict[str, dict[str, Tensor]]]
    steps: int
    curves: list[dict[str, Any]]
    stability: dict[str, float]
    resources: dict[str, float]
    execution: NotRequired[Execution]


@dataclass(frozen=True)
class Metric:
    """A quantity that is scored: its name, its unit, which direction is better, and the version of its definition."""

    name: str
    unit: str
    better: Literal["lower", "higher", "neither"] = "lower"
    version: int = 1


@dataclass(frozen=True)
class Score:
    """One value of one metric, with every part of its uncertainty apart.

    Attributes:
        value: the estimate.
        n: how many items (images, chains) it averages.
        estimator: how it was had: `exact-enumeration`, `quadrature`, `ais`, `monte-carlo`, `importance-weighted`, ...;
            `samples` where the prior has samples and no density, so that other scores cannot be had.
        stderr_mc: standard error from the estimator's own draws.
        stderr_images: standard error from the choice of test items.
        sys_lower, sys_upper: where the value may lie given the interval of log Z; both equal to `value` when log Z is
            exact or absent. This part is the same error in every image: it never shrinks with n.
        unreliable: why the value should not be trusted; empty when it may be.
    """

    metric: Metric
    value: float
    n: int
    estimator: str
    stderr_mc: float
    stderr_images: float
    sys_lower: float
    sys_upper: float
    unreliable: str = ""

    @property
    def stderr(self) -> float:
        """Total statistical standard error."""
        return float((self.stderr_mc**2 + self.stderr_images**2) ** 0.5)


@dataclass(frozen=True)
class Normalisation:
    """What an estimate of log Z shows of a prior that calls itself normalised.

    Attributes:
        verdict: `holds`; `above`, where the density integrates to more than one and every likelihood under it is too
            good; `below`, where it has mass out of sight or integrates to less, which harms the prior alone; or
            `not checked`, where the estimate cannot tell.
        reason: why, in words; empty where it holds.
        log_z: the estimate, nats; None where there is none.
        stderr: its standard error; by quadrature, how much refining still changes it.
        ess: effective sample size of the weights; None where nothing is sampled.
        n: how many points it rests on.
        estimator: `importance-weighted` or `quadrature`.
    """

    verdict: Literal["holds", "above", "below", "not checked"]
    reason: str
    log_z: float | None
    stderr: float
    ess: float | None
    n: int
    estimator: str


@dataclass(frozen=True)
class Scores:
    """What `evaluate` gives back: scores, named arrays (they lie as npz beside the record), seconds and bytes.

    `normalisation` is there where the prior calls itself normalised.
    """

    scores: Sequence[Score]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)
    normalisation: Normalisation | None = None


@runtime_checkable
class Strategy(Protocol):
    """A strategy plugin: a settings model of its hyper-parameters that fits and evaluates."""

    name: ClassVar[str]

    def skip(self, task: Task) -> str | None:
        """Return why this strategy cannot do `task`, in words, or None."""

    def fit(self, task: Task, run: Run) -> State:
        """Train, resuming from `run.folder`.

        Raises:
            Diverged: a loss, gradient or parameter is no longer finite.
            OutOfMemory: the device's memory does not suffice.
            Stopped: `run.stop_requested()` became true; a checkpoint lies in `run.folder`.
        """

    def evaluate(self, state: State, task: Task, run: Run) -> Scores:
        """Score a fitted state. Same state, task and `run.seed`: the same scores."""


class Prior(Protocol):
    """A density over z, `(..., d)`: normalised (`energy` is `-log_prob`) or not, always with `sample`."""

    normalised: ClassVar[bool]

    def energy(self, z: Tensor) -> Tensor:
        """Return E(z), `(...)`: minus the log density up to log Z, which is 0 where `normalised`."""

    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return draws `(n, d)`."""


# ---------------------------------------------------------------- how things end


class NotFinite(Exception):
    """A model left the finite numbers: a parameter, energy or score is none, or its density has no integral.

    What is said of a model, not of the code: `fit` and `evaluate` make it `Diverged`. A bug is no such finding, however
    arithmetic: Python's own ZeroDivisionError and OverflowError remain errors.
    """


class Diverged(Exception):
    """Training left the finite numbers; `step` is the first bad one, `stability` and `curves` what was seen."""

    def __init__(
        self,
        reason: str,
        step: int,
        stability: Mapping[str, float] | None = None,
        curves: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(f"{reason} at step {step}")
        self.reason, self.step, self.stability, self.curves = reason, step, dict(stability or {}), list(curves)

    def __reduce__(self) -> tuple[type[Diverged], tuple[Any, ...]]:
        return type(self), (self.reason, self.step, self.stability, self.curves)


class OutOfMemory(MemoryError):
    """The device's or the host's memory did not suffice."""


class Stopped(Exception):
    """A run was asked to stop and left a checkpoint."""


class DataError(UserError):
    """Data that cannot be had or trusted; the sentence says what to do."""
