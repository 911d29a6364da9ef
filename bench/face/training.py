"""One model from Python, without a run store: `bench.strategy` and `bench.dataset`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass as record
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench import demands
from bench.face.places import Place, data_of, located, registry_of, text_of
from bench.face.values import one_device, plain, table, text, whole
from bench.plugins import Plugin, Registry, build
from bench.plugins.settings import validated
from bench.plugins.shapes import passed
from bench.protocol import (
    Budget,
    DataError,
    Dataset,
    Diverged,
    Evaluation,
    OutOfMemory,
    Run,
    Splits,
    Task,
    UserError,
)
from bench.strategy import Fitted, Strategy
from bench.sweep.record import Score
from bench.sweep.scores import check_state, recorded

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def _silent(**_: Any) -> None:
    """Report to nobody."""


class Data:
    """A data set with its options.

    Attributes:
        plugin: where it comes from.
        settings: the data set itself.
        content: the file of a user's own arrays; empty for other data sets.
    """

    def __init__(self, plugin: Plugin, values: Mapping[str, Any], registry: Registry, content: bytes = b"") -> None:
        self.plugin, self.content = plugin, content
        self.settings = cast(Dataset, build(plugin, values, f"data set {plugin.name!r}", registry.component))
        self._values = dict(values)

    def __repr__(self) -> str:
        """Return `dataset("digits", validation=100)`."""
        return f"dataset({', '.join([repr(self.plugin.name), *(f'{k}={v!r}' for k, v in self._values.items())])})"

    @property
    def table(self) -> dict[str, Any]:
        """Its `[[dataset]]` table in a grid."""
        return {"name": named(self.plugin), **self._values}

    def splits(self, data_dir: Place | None = None) -> Splits:
        """Return its arrays as stored, from the folder of data sets, where they are downloaded to if need be.

        Raises:
            UserError: they cannot be had.
        """
        if not self.content:
            return self._loaded(data_of(data_dir))
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            Path(folder, f"{self._values['sha256']}.npz").write_bytes(self.content)
            return self._loaded(Path(folder))

    def _loaded(self, folder: Path) -> Splits:
        try:
            return demands.loaded(self.settings, folder)
        except DataError as error:
            raise DataError(f"data set {self.plugin.name!r}: {error}") from error


@record(frozen=True)
class Trained:
    """One trained model.

    Attributes:
        model: takes and gives arrays.
        scores: a row per metric.
        arrays: what scoring left, by name: samples, scores of every item.
        curves: of training, a row per epoch and metric.
        stability: what was watched in training.
    """

    model: Fitted
    scores: pd.DataFrame
    arrays: Mapping[str, np.ndarray] = field(repr=False)
    curves: pd.DataFrame = field(repr=False)
    stability: Mapping[str, float] = field(repr=False)


class Trainer:
    """A strategy with its hyper-parameters, ready to train a model."""

    def __init__(self, plugin: Plugin, values: Mapping[str, Any], registry: Registry) -> None:
        self.plugin, self._values, self._registry = plugin, dict(values), registry
        self.settings = build(plugin, values, f"strategy {plugin.name!r}", registry.component)

    def __repr__(self) -> str:
        """Return `strategy("stein", penalty=0.1)`."""
        return f"strategy({', '.join([repr(self.plugin.name), *(f'{k}={v!r}' for k, v in self._values.items())])})"

    def train(
        self,
        dataset: Data | Place,
        *,
        epochs: int | None = None,
        latent: int | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        networks: Mapping[str, Any] | None = None,
        evaluate: Mapping[str, Any] | None = None,
        device: str = "cpu",
        data_dir: Place | None = None,
        progress: Callable[..., None] | None = None,
    ) -> Trained:
        """Train and score one model in this process; nothing is kept on disk.

        On a CPU it is the model that the cell of a grid with the same settings trains.

        Args:
            dataset: from `bench.dataset`, or a NAME or FILE.
            epochs: passes over the training data.
            latent: the dimension of z.
            seed: of training.
            batch_size: items a step.
            networks: a grid's `[networks]` table.
            evaluate: a grid's `[evaluate]` table.
            device: cpu, cuda, cuda:N or mps.
            data_dir: where data sets lie or are downloaded to.
            progress: called as `progress(stage="fit", done=120, total=900, epoch=3, vlb=101.2)`.

        Raises:
            UserError: a setting is wrong, the strategy cannot do this data set, or training diverged.
        """
        import pandas as pd

        data = dataset if isinstance(dataset, Data) else _data(text_of("the data set", dataset), {}, self._registry)
        number, place = whole("seed", seed, 0), one_device(device)
        if progress is not None and not callable(progress):
            raise UserError(f"{passed('progress', progress)} is not allowed; it must be a function that can be called")
        values = {"epochs": epochs, "batch_size": batch_size}
        budget = validated(Budget, plain({k: v for k, v in values.items() if v is not None}), "train", "train")
        tables = table("networks", networks, "{'latent': 16}") | ({} if latent is None else {"latent": plain(latent)})
        built = self._registry.networks(tables, "train")
        evaluation = validated(Evaluation, table("evaluate", evaluate, "{'images': 100}"), "train", "evaluate")
        if not isinstance(self.settings, Strategy):
            raise UserError(f"{self.plugin.name} {WITHOUT_LATENTS}; `bench.run` trains and scores it")
        name, parts = data.plugin.name, (built, budget, evaluation)
        demands.check(name, data.settings, demands.declared(data.settings), *parts)  # before any download
        splits = data.splits(data_dir)
        demands.check(name, data.settings, splits.items, *parts)
        task = Task(data.settings, splits, built, budget, evaluation)
        if reason := self.settings.skip(task):
            raise UserError(f"{self.plugin.name} cannot do this: {reason}")
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, _alone(place):
            run = Run(number, place, Path(folder), progress or _silent)
            try:
                state = self.settings.fit(task, run)
                check_state(state)
                scores = self.settings.evaluate(state, task, run)
            except Diverged as error:
                raise UserError(f"{self.plugin.name} diverged: {error}") from error
            except OutOfMemory as error:
                raise UserError(str(error)) from error
            rows = recorded(scores)
            log_z = next((score.value for score in rows if score.metric == "log_z"), None)
            model = self.settings.fitted(state, task, run, log_z)
        curves = pd.DataFrame(state["curves"])
        return Trained(model, scored(rows), dict(scores.arrays), curves, dict(state["stability"]))


WITHOUT_LATENTS = "has no latent variables that could be encoded, decoded or sampled"


def scored(scores: Sequence[Score]) -> pd.DataFrame:
    """Return scores as a table with a row per metric."""
    import pandas as pd

    return pd.DataFrame([score.model_dump() for score in scores], columns=list(Score.model_fields)).set_index("metric")


@contextmanager
def _alone(device: str) -> Iterator[None]:
    """Train as a worker process does, on one thread, and give threads and generators back as they were."""
    import torch

    from bench.streams import undisturbed

    threads = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        with undisturbed():
            yield
    finally:
        torch.set_num_threads(threads)


def named(plugin: Plugin) -> str:
    """Return what finds a plugin in any registry: a NAME if it is built in or installed, else its FILE."""
    return plugin.name if plugin.origin == "built-in" or plugin.target else str(plugin.file)


def strategy(name: Place, *, plugins: Sequence[Place] = (), **hyper: Any) -> Trainer:
    """Return a strategy, by NAME or FILE, with its hyper-parameters.

    >>> import bench
    >>> bench.strategy("vampprior", components=32)
    strategy('vampprior', components=32)

    Raises:
        UserError: there is none, or a hyper-parameter is not allowed.
    """
    registry = registry_of(plugins)
    return Trainer(registry.find("strategy", located(name)), plain(hyper), registry)


def dataset(name: Place, *, plugins: Sequence[Place] = (), **options: Any) -> Data:
    """Return a data set, by NAME or FILE, with its options.

    Arrays of your own are `bench.dataset("arrays", train=X, test=Y, likelihood="bernoulli", validation=0)`: `uint8`
    images whose brightness k/255 is the probability of a one, or with `likelihood="gaussian"` `float32` items.

    >>> import bench
    >>> bench.dataset("digits", validation=100)
    dataset('digits', validation=100)

    Raises:
        UserError: there is none, or an option or array is not allowed.
    """
    return _data(name, options, registry_of(plugins))


def _data(name: Place, options: dict[str, Any], registry: Registry) -> Data:
    plugin = registry.find("dataset", located(name))
    content = b""
    if getattr(plugin.load(), "kept_in_store", False) and "sha256" not in options:
        import hashlib

        import numpy as np

        from bench.data.arrays import pack

        options.setdefault("likelihood", "bernoulli")
        for key in ("train", "test"):
            if key not in options:
                raise UserError(f"data set {plugin.name!r} needs {key}, an array whose first axis is the item")
            if isinstance(options[key], np.ma.MaskedArray):
                rule = "nothing here can leave out what is masked; fill it in or drop those items"
                raise UserError(f"{key} is a masked array; {rule}, and give a plain numpy array")
        arrays = {key: options.pop(key) for key in ("train", "test")}
        apart = whole("validation", options.pop("validation", 0), 0)
        content = pack(**arrays, likelihood=text("likelihood", options["likelihood"]), validation=apart)
        options["sha256"] = hashlib.sha256(content).hexdigest()
    return Data(plugin, plain(options), registry, content)
