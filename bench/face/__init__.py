"""The face: what `bench` does, from Python. The command line is words and exit codes over the same requests.

`bench.run`, `bench.results`, `bench.strategy`, `bench.dataset`, `bench.grid`, `bench.tune`, `bench.export_store` and
`bench.import_store` are the functions here.
"""

from bench.face.archives import Copied, export_store, import_store
from bench.face.records import Cell, Results, results
from bench.face.sweeps import grid, run
from bench.face.training import Data, Trained, Trainer, dataset, strategy
from bench.face.tuning import Tuned, tune
from bench.sweep.logs import Log, TensorBoard

__all__ = [
    "Cell",
    "Copied",
    "Data",
    "Log",
    "Results",
    "TensorBoard",
    "Trained",
    "Trainer",
    "Tuned",
    "dataset",
    "export_store",
    "grid",
    "import_store",
    "results",
    "run",
    "strategy",
    "tune",
]
