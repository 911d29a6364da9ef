"""Whatever a grid says, it is a grid or one sentence, soon."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.grid import MOST_CELLS, load, name_of
from bench.plugins import Registry
from bench.protocol import UserError
from bench.verbs.options import seeds_of

LIMIT = 10.0  # seconds
GRID = """\
title = "A grid"
seeds = 2
[[dataset]]
name = "digits"
[networks]
encoder = { kind = "mlp", hidden = [8, 8], activation = "elu" }
decoder = { kind = "mlp", hidden = [8, 8] }
latent = 2
[train]
epochs = 3
optimiser = { name = "adam", lr = 1e-3 }
[evaluate]
importance_samples = 10
[[strategy]]
name = "normal"
[[strategy]]
name = "vampprior"
components = [16, 50]
[slurm]
account = "me"
"""
PIECES = (
    *(
        "[",
        "]",
        "{",
        "}",
        "=",
        '"',
        "'",
        "\\",
        "\n",
        "#",
        ",",
        ".",
        " ",
        "[[",
        "]]",
        '"""',
        "\x00",
        "\x1b",
        "²",
        "\ufeff",
    ),
    *(
        "0",
        "1",
        "-1",
        "1e400",
        "nan",
        "inf",
        "0x10",
        "1979-05-27",
        "12:00:00",
        "true",
        "9" * 30,
        "9" * 5000,
        "[" * 3000,
    ),
    *(
        "name",
        "kind",
        "seeds",
        "[dataset]",
        "[[strategy]]",
        "strategy",
        "tuned",
        "../x",
        "x.py",
        "\\u001b",
        "\\ud800",
        "[" * 3000,
    ),
)
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**63, 10**18, 10**5000, 1e308, float("nan"), float("inf"), 0.5, "", "x", "a/b.py", "~x/y.py"),
    *("\x1b[31m", "\udcff", "\0", "x" * 10_000, [], {}, [[]], [{}], {"a": {}}, {"kind": 3}, ["normal"], [1] * 2000),
    *(
        {"name": "normal"},
        {"kind": "mlp"},
        {"kind": ["mlp", "conv"]},
        {"a": list(range(1500))},
        list(range(1000)),
        b"x",
    ),
)


def text(draw: random.Random) -> str:
    """Return a grid with pieces put in, taken out or doubled."""
    said = GRID
    for _ in range(draw.choice([1, 1, 2, 5])):
        place = draw.randrange(len(said))
        end = place + draw.choice([0, 0, 1, 3, 20])
        said = said[:place] + draw.choice([*PIECES, said[place : place + 30] * 2]) + said[end:]
    return said


def tables(draw: random.Random) -> dict[str, Any]:
    """Return the tables of a grid with values put in place of others."""
    import tomllib

    source = tomllib.loads(GRID)
    for _ in range(draw.choice([1, 1, 2, 5])):
        place: Any = source
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw.choice([*keys, *(["new", ""] if isinstance(place, dict) else [])]) if keys else None
            inner = place[key] if key in keys else None
            if not isinstance(inner, dict | list) or not inner or draw.random() < 0.2:
                break
            place = inner
        if key is not None:
            place[key] = copy.deepcopy(draw.choice(VALUES))
    return source


def trial(registry: Registry, file: Path, seed: int) -> str:
    """Load a grid and return what went wrong; nothing where all is well."""
    draw = random.Random(seed)
    start = time.monotonic()
    try:
        if draw.random() < 0.5:
            file.write_text(text(draw), "utf-8", "surrogatepass")
            cells = load(str(file), registry).cells
        else:
            cells = load(tables(draw), registry).cells
        assert 0 < len(cells) <= MOST_CELLS
    except UserError as error:
        said = str(error)
        if len(said) > 1500 or not all(sign.isprintable() for sign in said):
            return f"{seed}: {len(said)} signs: {said[:300]!r}"
    except Exception as error:
        return f"{seed}: {type(error).__name__}: {str(error)[:300]}"
    took = time.monotonic() - start
    return f"{seed}: {took:.0f} s" if took > LIMIT else ""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry()


def test_some_strange_grids(registry: Registry, tmp_path: Path) -> None:
    assert not [said for seed in range(60) if (said := trial(registry, tmp_path / "g.toml", seed))]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_strange_grids(registry: Registry, tmp_path: Path) -> None:
    assert not [said for seed in range(1000, 2000) if (said := trial(registry, tmp_path / "g.toml", seed))]


# ---------------------------------------------------------------- cases


def refused(act: Callable[[], Any]) -> str:
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        act()
    assert time.monotonic() - start < 2
    return str(caught.value)


@pytest.mark.parametrize(
    ("seeds", "sentence"),
    [
        ("20240101", "for one seed of that number write [20240101]"),
        ("9223372036854775807", "the most that a grid may have"),
        ("9223372036854775808", "is not allowed; it must have 64 bits at most"),
        ("[9223372036854775808]", "is not allowed; it must have 64 bits at most"),
        ("9" * 5000, "invalid TOML: it holds a number of more than 4300 digits"),
        ("[" * 3000 + "]" * 3000, "invalid TOML: it is nested too deeply"),
        ("[" * 100 + "]" * 100, "tables and lists are nested more than 32 deep"),
        ("2024-01-01", 'seeds = "2024-01-01" is not allowed; it is a date or time'),
    ],
)
def test_seeds_without_bounds_are_one_sentence_at_once(
    registry: Registry, tmp_path: Path, seeds: str, sentence: str
) -> None:
    file = tmp_path / "g.toml"
    file.write_text(GRID.replace("seeds = 2", f"seeds = {seeds}"))
    assert sentence in refused(lambda: load(str(file), registry))


@pytest.mark.parametrize(
    ("said", "seeds"),
    [("3", 3), ("1,", [1]), ("[1]", [1]), ("[0, 5]", [0, 5]), ("0,1,5", [0, 1, 5]), (str(2**63 - 1), 2**63 - 1)],
)
def test_seeds_on_the_command_line_mean_what_they_say(said: str, seeds: Any) -> None:
    assert seeds_of(None, None, said) == seeds  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "said", ["²", "1,²", "", ",", "[]", "1,,2", "-1", "1.5", "[1", "9" * 5000, str(2**63), f"[{2**63}]"]
)
def test_other_seeds_on_the_command_line_are_one_short_sentence(said: str) -> None:
    assert len(refused(lambda: seeds_of(None, None, said))) < 250  # type: ignore[arg-type]


def test_cells_are_counted_before_they_are_made(registry: Registry) -> None:
    many = list(range(1, 1001))
    sweep = {"dataset": [{"name": "digits"}], "strategy": [{"name": "vampprior", "components": many}], "seeds": 101}
    assert "101,000 cells (1 x 1 x 1 x 1,000 x 101" in refused(lambda: load(sweep, registry))
    sweep["strategy"] = [{"name": "sliced-score-matching", "lr": [n / 1e6 for n in many], "energy": {"hidden": many}}]
    assert "sweeps over 1,000,000 points; it must be 1,000 at most" in refused(lambda: load(sweep, registry))


def test_a_date_in_the_slurm_table_is_refused_with_the_grid(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    file.write_text(GRID.replace('"me"', "2024-01-01"))
    assert 'slurm.account = "2024-01-01" is not allowed' in refused(lambda: load(str(file), registry))


def test_a_byte_order_mark_is_accepted(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_bytes(b"\xef\xbb\xbf" + GRID.encode())
    assert len(load(str(tmp_path / "g.toml"), registry).cells) == 6


def test_a_link_has_its_own_name_and_its_files_lie_beside_the_grid(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "real.toml").write_text(GRID)
    (tmp_path / "link.toml").symlink_to("there/real.toml")
    assert load(str(tmp_path / "link.toml"), registry).name == name_of(str(tmp_path / "link.toml")) == "link"
    (tmp_path / "there" / "real.toml").write_text(GRID.replace('"normal"', '"./mine.py"'))
    said = refused(lambda: load(str(tmp_path / "link.toml"), registry))
    assert f"the strategy file {tmp_path / 'there' / 'mine.py'} does not exist" in said


def test_a_pipe_of_the_shell_is_a_grid(registry: Registry) -> None:
    import os

    reading, writing = os.pipe()
    os.write(writing, GRID.encode())
    os.close(writing)
    assert load(f"/dev/fd/{reading}", registry).name == "grid"
    os.close(reading)
