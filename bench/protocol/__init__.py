"""The contracts between the science of a benchmark and its operation; the ground floor of both.

A *data set* loads `Splits` and prepares batches. A *strategy* is a prior and the way it is trained: `fit` turns a
`Task` into a `State`, `evaluate` turns a state into `Scores`. The operations side fills the task from a grid and
hands it over with a `Run`; it never looks inside a state. Nothing here imports torch at run time.
"""

from __future__ import annotations

from bench.protocol.budget import Average, Budget, Checkpoint, Clip, EarlyStopping, Optimiser, Schedule, Warmup
from bench.protocol.data import (
    MOST_LATENTS,
    Dataset,
    Items,
    KnownDensity,
    Likelihood,
    LikelihoodClass,
    LikelihoodName,
    Noise,
    Pixels,
    Splits,
    Unit,
)
from bench.protocol.endings import DataError, Diverged, NotFinite, OutOfMemory, Stopped
from bench.protocol.evaluation import Ais, AisNll, Evaluation
from bench.protocol.networks import HIDDEN, TILT, Energy, Network, Networks
from bench.protocol.scores import Metric, Normalisation, Score, Scores
from bench.protocol.settings import Component, Search, Settings
from bench.protocol.strategy import Execution, Prior, Run, State, Strategy, Task
from bench.words import UserError

__all__ = [
    "HIDDEN",
    "MOST_LATENTS",
    "TILT",
    "Ais",
    "AisNll",
    "Average",
    "Budget",
    "Checkpoint",
    "Clip",
    "Component",
    "DataError",
    "Dataset",
    "Diverged",
    "EarlyStopping",
    "Energy",
    "Evaluation",
    "Execution",
    "Items",
    "KnownDensity",
    "Likelihood",
    "LikelihoodClass",
    "LikelihoodName",
    "Metric",
    "Network",
    "Networks",
    "Noise",
    "Normalisation",
    "NotFinite",
    "Optimiser",
    "OutOfMemory",
    "Pixels",
    "Prior",
    "Run",
    "Schedule",
    "Score",
    "Scores",
    "Search",
    "Settings",
    "Splits",
    "State",
    "Stopped",
    "Strategy",
    "Task",
    "Unit",
    "UserError",
    "Warmup",
]
