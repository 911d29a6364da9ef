"""What studies have come to, as text and pictures: the best trials, what mattered, how it went."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from bench.files import replacing
from bench.protocol import UserError
from bench.sweep.progress import duration
from bench.sweep.status import aligned
from bench.sweep.store import Store
from bench.tuning import ledgers
from bench.tuning.orders import allowed
from bench.tuning.trials import Progress, seconds_of

BEST = 3  # trials that are shown of a study
PICTURES = "pictures"  # their folder, in the store
DOTS = 200  # an inch, of a picture


def text(studies: Sequence[Progress]) -> str:
    """Return the best trials of every study, its ledger, and how much each hyper-parameter mattered."""
    return "\n\n".join(_study(progress) for progress in studies)


def _study(progress: Progress) -> str:
    row, records = progress.study.row, progress.records()
    trials = [trial for trial, _ in records]
    counts = {
        "ended": sum(trial.state.is_finished() for trial in trials),
        "pruned": sum(trial.state == TrialState.PRUNED for trial in trials),
        "failed": sum(trial.state == TrialState.FAIL for trial in trials),
    }
    spent = duration(sum(seconds_of(record) for _, record in records if record))
    said = f"{counts['ended']} of {len(trials)} trials ended ({counts['pruned']} pruned, {counts['failed']} failed)"
    allowance = allowed(progress)
    lines = [f"{row.name}: {said} in {spent}{f' of {allowance}' if allowance.seconds else ''}"]
    order = ledgers.ranked(progress)
    if not order:
        return "\n".join([*lines, "  no trial has come to a value yet"])
    keys = [chosen.key for chosen in row.ranges]
    table = [("  trial", row.metric, *keys)]
    for trial, scored in order[:BEST]:
        values = progress.study.values(trial) or {}
        mark = " (unreliable)" if scored.doubt else ""
        table.append((f"  {trial.number}", f"{scored.value:.4f}{mark}", *(str(values.get(key)) for key in keys)))
    lines.append(aligned(table, left=1))
    best, scored = order[0]
    default = next((value for trial, value in order if progress.study.own(trial)), None)
    if progress.study.own(best):
        lines.append("  the grid's own values are the best so far")
    elif default is not None:
        gain = default.loss - scored.loss
        lines.append(f"  {gain:.4f} better than the grid's own values, by one training of each")
    if weights := importances(progress):
        lines.append("  " + "; ".join(f"{key}: {share:.0%} of the differences" for key, share in weights.items()))
    return "\n".join(lines)


def importances(progress: Progress) -> dict[str, float]:
    """Return each hyper-parameter's share in the variance of values (fANOVA); empty while that cannot be told."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    complete = [trial for trial in progress.study.trials if trial.state == TrialState.COMPLETE]
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    with _quiet(), contextlib.suppress(ValueError, RuntimeError):
        return dict(get_param_importances(progress.study.study, evaluator=FanovaImportanceEvaluator(seed=0)))
    return {}


def place(store: Store) -> Path:
    """Return the folder of a store's pictures; where a stranger's store has a link in its place, one of this folder."""
    folder = store.folder / PICTURES
    return Path(PICTURES) if folder.is_symlink() and store.foreign else folder


def pictures(studies: Sequence[Progress], folder: Path) -> list[Path]:
    """Draw the history, the slices and the importances of every study, and return the files.

    Raises:
        UserError: they cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from optuna.visualization import matplotlib as drawing

    written = []
    for progress in studies:
        if not any(trial.state == TrialState.COMPLETE for trial in progress.study.trials):
            continue
        stem = re.sub(r"[^\w=.,+-]", "-", progress.study.row.study)
        drawn: dict[str, Any] = {"history": drawing.plot_optimization_history, "slice": drawing.plot_slice}
        if importances(progress):
            drawn["importance"] = drawing.plot_param_importances
        for name, draw in drawn.items():
            path = folder / f"{stem}-{name}.png"
            try:
                _save(draw, progress, path)
            except OSError as error:
                raise UserError(f"the picture {path} cannot be written ({error.strerror})") from error
            written.append(path)
    return written


def _drawn(progress: Progress) -> optuna.Study:
    """Return the study to draw: its values are the metric's own, whichever direction is better."""
    records = progress.records()
    if not progress.higher:
        return progress.study.study
    study = optuna.create_study(direction="maximize")
    study.add_trials([trial for trial, _ in records if trial.state == TrialState.COMPLETE])
    return study


def _save(draw: Any, progress: Progress, path: Path) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    with _quiet():
        axes = draw(_drawn(progress), target_name=progress.study.row.metric)
        figure = (axes.flat[0] if hasattr(axes, "flat") else axes).figure
        for part in figure.axes:  # its labels would cover each other
            part.xaxis.set_minor_formatter(NullFormatter())
        figure.suptitle(progress.study.row.name)
        with replacing(path, durable=False) as file:  # a link in its place is replaced, never followed
            figure.savefig(file, format="png", dpi=DOTS, bbox_inches="tight")
    plt.close(figure)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's warnings, on what it calls experimental, from the screen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
