"""The verbs as `bench --help` knows them, which imports none of them."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import click
import pytest

from bench import cli
from bench.plugins import KINDS, Registry
from bench.sweep.requests import Request
from bench.verbs import archives, options, plugins, sweeps, tuning


@pytest.mark.parametrize("name", cli.VERBS)
def test_what_help_says_of_a_verb_is_its_own_first_sentence(name: str) -> None:
    verb = cli.bench.get_command(click.Context(cli.bench), name)
    assert verb is not None
    assert verb.name == name
    assert " ".join(str(verb.help).partition("\n\n")[0].split()) == cli.VERBS[name][1]


def test_every_verb_is_in_the_table_once_and_in_order() -> None:
    assert [*cli.VERBS] == sorted(cli.VERBS)
    written = [value for module in (archives, plugins, sweeps, tuning) for value in vars(module).values()]
    verbs = {value.name for value in written if isinstance(value, click.Command)}
    assert verbs == {*cli.VERBS}


def test_a_request_is_made_of_options_that_it_has() -> None:
    assert {*options.REQUESTED} <= {field.name for field in dataclasses.fields(Request)}


def test_help_imports_no_verb_and_no_library_but_click() -> None:
    code = """import sys
sys.argv = ["bench", "--help"]
from bench.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
foreign = {"pydantic", "multiprocessing", "rich", "importlib.metadata"} & {*sys.modules}
print(sorted(foreign | {name for name in sys.modules if name.startswith("bench.")}))"""
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert done.stdout.endswith("['bench.cli', 'bench.verbs', 'bench.verbs.output', 'bench.words']\n")


def test_listing_imports_nothing_of_sweeps_and_where_plugins_are_described_no_pydantic() -> None:
    for kind in KINDS:
        Registry().describe(kind, fields=False)
    code = """import sys
sys.argv = ["bench", "list"]
from bench.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
unwanted = ("bench.sweep", "bench.report", "bench.contracts", "pydantic")
print(sorted(name for name in sys.modules if name.startswith(unwanted)))"""
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert done.stdout.endswith("[]\n")
