"""The verb that tunes the rows of a grid."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from bench import profile
from bench.protocol import UserError
from bench.sweep.requests import Request
from bench.verbs import options
from bench.verbs.options import Values, flag, say


@click.command()
@options.cells
@options.data
@options.trust
@options.number("--trials", help="Trials of every row; or --budget.")
@click.option("--budget", metavar="TIME", help="Time of every row's trials together: 2h, 90m or 45s.")
@click.option("--metric", default="vlb", show_default=True, metavar="NAME", help="What trials are chosen by.")
@click.option(
    "--pruner",
    type=click.Choice(["median", "hyperband", "none"]),
    default="median",
    show_default=True,
    help="Ends trials early whose validation bound is worse than that of others of their row.",
)
@click.option("--storage", metavar="URL", help="An Optuna storage (default: a journal file in the run store).")
@flag("--show", help="Show the best trials and what mattered, and draw pictures; run nothing.")
@options.on
@flag("--detach", help="Return once SLURM has the jobs; the same command comes back to them.")
@options.limits
@click.option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1 or mps (default: cpu; cuda in a job with GPUs).")
@options.slurm
def tune(
    request: Request,
    trials: int | None,
    budget: str | None,
    metric: str,
    pruner: Any,
    storage: str | None,
    show: bool,
    on: str,
    detach: bool,
    limits: Values,
    wanted: Values,
) -> None:
    """Tune every row of a grid by as many trials, or seconds, on the validation split, and write the tuned grid.

    A row is a strategy on a data set. What is searched is what its fields declare (`bench list --verbose`), or what a
    table [tune.STRATEGY] of the grid says, and the learning rate of encoder and decoder for every strategy. Networks
    and the latent size stay as they are. Test images are not looked at.

    A trial is a cell with a record, in the run store GRID-trials. A trial that diverges, fails or is ended early counts
    like any other. Interrupted at any moment, the same command goes on; with more --trials it adds those that are
    missing. Give the same command in several shells, and they work on it together; with --on slurm, --jobs N is so many
    SLURM jobs that do, and the last one to end writes the tuned grid. `bench cancel` ends them.

    The tuned grid is GRID-tuned.toml, in this folder. `bench run --grid GRID-tuned.toml` trains what was chosen and
    what the grid had before, and shows the gain and what it cost.

    Such as: bench tune --grid digits --set dataset.digits.validation=300 --trials 20 --jobs 2
    """
    from bench.plugins.shapes import typed
    from bench.tuning.orders import Tuning, allowance_of
    from bench.tuning.show import pictures, place, text

    tuning = Tuning(request, metric, storage)
    if show:
        studies = tuning.studies
        if not studies:
            none = f"there is no study of {request.cells.name} in {tuning.store.folder}"
            raise UserError(f"{none}; `{options.about('tune', '--trials', '20')}` makes it")
        click.echo(text(studies))
        for path in pictures(studies, place(tuning.store)):
            say(f"drawn: {path}")
        return
    jobs = limits.pop("jobs")
    if on == "local":
        foreign = ["detach"] * detach + [name for name in wanted if name not in ("memory", "retries")]
        if foreign:
            raise UserError(f"--{foreign[0].replace('_', '-')} is said of SLURM jobs; add --on slurm")
    allowance = allowance_of(trials, budget, typed)
    asked = profile.slurm(request.cells.source.get("slurm", {}), wanted) if on == "slurm" else None
    device = limits["device"] or ("cuda" if asked and asked.gpus else "cpu")
    order = tuning.order(allowance, pruner, device, Path.cwd())
    number = len(order.rows)
    say(f"{number} row{'s' * (number != 1)}, {allowance} each; store: {tuning.store.folder}")
    if asked is None:
        tally = tuning.carry_out(order, jobs, limits["timeout"], **wanted)
        if tally.signal is not None:
            say(f"stopped; to go on: {options.command('tune')}")
            raise click.exceptions.Exit(128 + tally.signal)
    else:
        from bench.sweep.status import unstarted
        from bench.tuning import cluster

        order.feed(say)  # studies are there, and right, before any job is
        seconds = limits["timeout"] and 60 * limits["timeout"]
        launch = cluster.Submitted(order, asked, jobs or 1, seconds).submit()
        say(f"submitted: {', '.join(array.job for array in launch.arrays)}")
        say(f"to see how it goes: {options.about('tune', '--show')}")
        if detach:
            return
        try:
            if stuck := cluster.watch(launch, say):
                cancel = options.about("cancel")
                say(f"left to SLURM, for they do not start by themselves: {unstarted(stuck)}; to end them: {cancel}")
        except KeyboardInterrupt:
            say("left to SLURM; the last job writes the tuned grid")
            raise click.exceptions.Exit(130) from None
    click.echo(text(tuning.studies))
    grids = order.conclude(say)
    for path in grids:
        again = options.about("run", "--grid", os.path.relpath(path), keeping=("--plugins",))
        click.echo(f"tuned grid: {path}; to compare it with what was: {again}")
    raise click.exceptions.Exit(0 if grids else 1)
