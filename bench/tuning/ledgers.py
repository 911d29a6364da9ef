"""What studies came to: which trial of each is chosen, what all of them cost, and the tuned grid that says so."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from optuna.trial import FrozenTrial, TrialState

from bench.files import read, replacing
from bench.grid import Grid
from bench.ledger import Ledger
from bench.plugins import Kind, Plugin, plain_name
from bench.plugins.settings import component_fields
from bench.protocol import Networks, Settings, UserError
from bench.sweep.columns import canonical
from bench.tuning import space
from bench.tuning.rows import Row
from bench.tuning.trials import Progress, Scored, seconds_of, value_of
from bench.words import listed

WRITTEN = "# Written by `bench tune"  # how a tuned grid begins


def ranked(progress: Progress) -> list[tuple[FrozenTrial, Scored]]:
    """Return the trials that came to a value, the best first, each with that.

    Values are those of records, whatever the study says. What cannot be trusted comes after all that can: a good value
    is the likelier the more log Z is off.
    """
    metric = progress.study.row.metric
    ended = [(trial, record) for trial, record in progress.records() if record and record.status == "ok"]
    scored = [(trial, value_of(record, metric)) for trial, record in ended]
    valued = [(trial, value) for trial, value in scored if value]
    return sorted(valued, key=lambda entry: (bool(entry[1].doubt), entry[1].loss, entry[0].number))


def of(progress: Progress) -> Ledger | None:
    """Return the ledger of a study; None where no trial of it came to a value."""
    row, order = progress.study.row, ranked(progress)
    records = progress.records()
    if not order:
        return None
    best, scored = order[0]
    chosen = progress.study.values(best)
    assert chosen is not None
    trials = [trial for trial, _ in records]
    return Ledger(
        study=row.study,
        trials=len(trials),
        pruned=sum(trial.state == TrialState.PRUNED for trial in trials),
        failed=sum(trial.state == TrialState.FAIL for trial in trials),
        seconds=round(sum(seconds_of(record) for _, record in records if record), 1),
        metric=row.metric,
        best=best.number,
        value=scored.value,
        unreliable=bool(scored.doubt),
        chosen=chosen,
        defaults=row.defaults,
        space={name.key: name.plain for name in row.ranges},
        records=[f"{record.cell}/{progress.job.key}" for _, record in records if record],
    )


def ends(progress: Progress) -> str:
    """Return how many trials of a study without a value ended in which way: `3 diverged, 1 pruned`."""
    words = {"ok": "not finite"}
    records = [record for _, record in progress.records()]
    counts = Counter(words.get(record.status, record.status) if record else "without a record" for record in records)
    return listed(f"{number} {status}" for status, number in counts.items())


# ---------------------------------------------------------------- the tuned grid


def write(grid: Grid, studies: Sequence[tuple[Progress, Ledger | None]], folder: Path) -> list[Path]:
    """Write a tuned grid for each data set, and return where.

    A row with a ledger comes twice: with what was chosen, and with what the grid had, so that the gain can be measured
    with the seeds of the comparison, on the test items. Where the grid's own values were the best, it comes once.

    Args:
        grid: that was tuned.
        studies: of its rows, with their ledgers.
        folder: of the files.

    Raises:
        UserError: a file cannot be written, or is there and not written by bench; then none is written.
    """
    paths = places(grid, [progress.study.row for progress, _ in studies], folder)
    refuse_others(paths.values())
    for dataset, path in paths.items():
        ours = [(progress, ledger) for progress, ledger in studies if progress.study.row.cell.dataset == dataset]
        content = _text(grid, dataset, ours)
        try:
            with replacing(path) as file:
                file.write(content.encode())
        except OSError as error:
            raise UserError(f"the tuned grid {path} cannot be written ({error.strerror})") from error
    return list(paths.values())


def places(grid: Grid, rows: Sequence[Row], folder: Path) -> dict[str, Path]:
    """Return where the tuned grid of each data set of these rows goes."""
    several = len({cell.dataset for cell in grid.cells}) > 1
    datasets = dict.fromkeys(row.cell.dataset for row in rows)
    return {dataset: folder / f"{grid.name}{f'-{plain_name(dataset)}' * several}-tuned.toml" for dataset in datasets}


def refuse_others(paths: Iterable[Path]) -> None:
    """Refuse to replace files that bench has not written.

    Raises:
        UserError: one of them is there, and does not begin with what bench writes.
    """
    for path in paths:
        try:
            ours = read(path).startswith(WRITTEN.encode())
        except (FileNotFoundError, NotADirectoryError):
            ours = not path.is_symlink()
        except OSError:
            ours = False
        if not ours:
            raise UserError(
                f"the tuned grid would replace {path}, which `bench tune` has not written;"
                " move it away, or tune in another folder"
            )


def _text(grid: Grid, dataset: str, studies: Sequence[tuple[Progress, Ledger | None]]) -> str:
    source, name = grid.source, plain_name(dataset)
    cell = studies[0][0].study.row.cell
    head: dict[str, Any] = {"title": f"{grid.title}, tuned", "seeds": source.get("seeds", 1)}
    tables: dict[str, Any] = {
        "headline": _headline(source.get("headline", {}), name),
        "networks": _with_files(cell.networks, Networks, cell.plugins),
        "train": space.tables(cell)["train"],
        "evaluate": space.without_none(cell.evaluation.model_dump(mode="json")),
        "slurm": source.get("slurm", {}),
    }
    lines = [
        f"{WRITTEN} --grid {grid.called or grid.name}`; `bench run --grid` takes it.",
        *_pairs(head),
        "",
    ]
    lines += ["[[dataset]]", *_pairs({"name": cell.dataset, **cell.options}), ""]
    for key, table in tables.items():
        if table:
            lines += [f"[{key}]", *_pairs(table), ""]
    for progress, ledger in studies:
        row = progress.study.row
        model, plugins = row.cell.plugins[0].load(), row.cell.plugins
        before = _with_files(space.without_none(row.source["strategy"][0]), model, plugins)
        if ledger is not None:
            changed = space.changed(row.source, ledger.chosen)
            shared: dict[str, Any] = {}
            for key, value in ledger.chosen.items():
                first, _, rest = key.partition(".")
                if first in ("train", "networks") and first not in before:
                    _put(shared, [first, *rest.split(".")], value)
            own = _with_files(space.without_none(changed["strategy"][0]), model, plugins)
            lines += ["[[strategy]]", *_pairs(own | shared), ""]
            lines += ["[strategy.tuned]", *_pairs(ledger.model_dump(mode="json")), ""]
            if canonical(space.changed(row.source, ledger.defaults)) == canonical(changed):
                continue
        lines += ["[[strategy]]", *_pairs(before), ""]
    return "\n".join(lines)


def _with_files(values: Mapping[str, Any], model: type[Settings], plugins: Sequence[Plugin]) -> dict[str, Any]:
    """Return a table in which networks and energies that lie in a user's files are named by these."""
    files = {
        (part.kind, part.name): str(part.file) for part in plugins if part.origin != "built-in" and not part.target
    }
    named = dict(values)
    for field, base in component_fields(model).items():
        part = values.get(field)
        if isinstance(part, Mapping) and (base.plugin, part.get("kind")) in files:
            named[field] = {**part, "kind": files[cast(Kind, base.plugin), part["kind"]]}
    return named


def _headline(table: Any, dataset: str) -> dict[str, Any]:
    """Return the `[headline]` table with the margins of one data set."""
    kept = dict(table) if isinstance(table, Mapping) else {}
    if isinstance(margins := kept.get("same_within"), Mapping):
        kept["same_within"] = {name: margin for name, margin in margins.items() if name == dataset}
    return kept


def _put(table: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        table = table.setdefault(part, {})
    table[path[-1]] = value


def _pairs(table: Mapping[str, Any]) -> list[str]:
    """Return the lines of a table in TOML."""
    return [f"{_key(key)} = {_toml(value)}" for key, value in table.items() if value is not None]


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def _toml(value: Any) -> str:
    """Return a plain value as TOML writes it; tables stand in one line."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items() if item is not None)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
