"""Links round in a circle, pipes, devices and names that a terminal obeys, where a user names files: one sentence."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import profile
from bench.contracts import find, write
from bench.files import creating
from bench.grid import load, name_of
from bench.places import existing, remember, remembered, resolved, user_folder
from bench.plugins import PluginError, Registry
from bench.plugins.toml import MOST
from bench.protocol import UserError
from bench.sweep.limits import devices
from bench.verbs.plugins import list_

CIRCLE = "and its links lead round in a circle"
GRID = b'[[dataset]]\nname = "8-gaussians"\n[[strategy]]\nname = "normal"\n[networks]\nlatent = 2\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own, with an empty cache and no profile."""
    for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def circle(path: Path) -> None:
    """Make a link to itself."""
    path.symlink_to(path.name)


def endless(path: Path) -> None:
    """Make a link to a device that never ends."""
    path.symlink_to("/dev/zero")


def dangling(path: Path) -> None:
    """Make a link to nothing."""
    path.symlink_to("nowhere")


def huge(path: Path) -> None:
    """Make a file that is too large, of no blocks."""
    path.touch()
    os.truncate(path, MOST + 1)


Odd = Callable[[Path], None]
ODD: list[tuple[Odd, str]] = [
    (os.mkfifo, "it is not a file"),
    (endless, "it is not a file"),
    (circle, "Too many levels of symbolic links"),
    (huge, "it holds more than 16,777,216 bytes"),
]


def refused(call: Callable[[], object]) -> str:
    """Return the sentence of a user's error."""
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- places


def test_links_are_followed_and_those_round_in_a_circle_are_a_sentence(here: Path) -> None:
    (here / "there").mkdir()
    (here / "link").symlink_to("there")
    assert resolved(here / "link" / "x.py", "the file") == here / "there" / "x.py"
    (here / "a").symlink_to("b")
    (here / "b").symlink_to("a")
    for path in (here / "a", here / "b" / "x.py"):
        assert refused(lambda path=path: resolved(path, "the file")).startswith(f"the file is {path}, {CIRCLE}")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (os.mkdir, " file x.py is a folder, not a file"),
        (os.mkfifo, " file x.py is a device or a pipe, not a file"),
        (endless, " file x.py is a device or a pipe, not a file"),
        (dangling, " file x.py does not exist"),
        (circle, CIRCLE),
    ],
)
def test_what_is_there_and_no_file_is_not_said_to_be_missing(make: Odd, sentence: str, here: Path) -> None:
    make(here / "x.py")
    assert sentence in refused(lambda: existing("x.py", "the plugin file"))
    assert sentence in refused(lambda: find(Registry(), "x.py"))
    assert sentence in refused(lambda: Registry().find("strategy", "x.py"))


def test_a_file_that_is_there_is_found_through_links(here: Path) -> None:
    (here / "x.py").touch()
    (here / "link.py").symlink_to("x.py")
    assert existing("link.py", "the plugin file") == here / "x.py"


@pytest.mark.parametrize("named", ["loop", "{here}/loop", "loop/below"])
@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "XDG_CONFIG_HOME"])
def test_a_user_folder_that_is_a_circle_is_a_sentence(
    variable: str, named: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    circle(here / "loop")
    monkeypatch.setenv(variable, named.format(here=here))
    assert refused(lambda: user_folder("cache")).startswith(f"{variable} is {here}/loop")


def test_a_store_that_is_a_circle_is_nobody_s(here: Path) -> None:
    circle(here / "loop")
    assert not remembered("store", here / "loop")
    assert CIRCLE in refused(lambda: remember("store", here / "loop"))


# ---------------------------------------------------------------- plugin folders


@pytest.mark.parametrize(
    ("make", "sentence"), [*ODD, (os.mkdir, "Is a directory"), (dangling, "No such file or directory")]
)
@pytest.mark.parametrize(("kind", "folder"), [("strategy", "strategies"), ("dataset", "datasets")])
def test_what_is_no_file_in_a_plugin_folder_is_a_broken_plugin_and_no_end_of_the_others(
    kind: str, folder: str, make: Odd, sentence: str, here: Path
) -> None:
    (here / folder).mkdir()
    make(here / folder / "odd.py")
    (here / folder / "other.py").write_text("1 / 0")
    registry = Registry([here])
    said = {plugin.name: plugin.error for plugin in registry.describe(kind)}  # type: ignore[arg-type]
    assert said["odd"].endswith(f"does not load: {sentence}")
    assert "ZeroDivisionError" in said["other"]
    assert sum(not error for error in said.values()) == len(said) - 2
    with pytest.raises(PluginError, match=sentence):
        registry.find(kind, "odd").load()  # type: ignore[arg-type]


def test_a_plugin_folder_that_is_none_says_why(here: Path) -> None:
    circle(here / "loop")
    (here / "file").touch()
    assert refused(lambda: Registry([Path("loop")])) == f"the plugin folder is {here}/loop, {CIRCLE}"
    assert refused(lambda: Registry([Path("file")])) == "the plugin folder file is no folder"
    assert refused(lambda: Registry([Path("gone")])) == "the plugin folder gone does not exist"
    assert "holds none of strategies/" in refused(lambda: Registry([Path()]))


def test_a_list_obeys_no_name_and_no_text_of_a_plugin(here: Path) -> None:
    folder = here / "red\x1b[31m" / "strategies"
    folder.mkdir(parents=True)
    (folder / "esc\x1b]0;owned\a.py").touch()
    (folder / "doc.py").write_text(
        "from pydantic import Field\nfrom bench.protocol import Settings\n"
        'class Doc(Settings):\n    "Bad \\x1b[2J."\n    a: int = Field(1, description="worse \\x1b[2J")\n'
        "    def fit(self): ...\n    def evaluate(self): ...\n"
    )
    done = CliRunner().invoke(list_, ["--verbose", "--plugins", str(folder.parent)])
    assert done.exit_code == 0
    assert all(line.isprintable() for line in done.output.splitlines())
    for shown in ("esc?]0;owned?", f"file: {here}/red?[31m/strategies/doc.py", "Bad ?[2J.", "worse ?[2J"):
        assert shown in done.output


# ---------------------------------------------------------------- grids and the profile


@pytest.mark.parametrize(("make", "sentence"), ODD)
def test_a_grid_that_is_no_file_is_a_sentence(make: Odd, sentence: str, here: Path) -> None:
    make(here / "z.toml")
    assert refused(lambda: load("z.toml", Registry())) == f"the grid file z.toml cannot be read: {sentence}"


def test_a_grid_that_is_a_device_is_a_sentence() -> None:
    assert "it is not a file" in refused(lambda: load("/dev/zero", Registry()))
    assert name_of("/dev/zero") == "grid"


@pytest.mark.parametrize(("make", "sentence"), ODD)
def test_a_profile_that_is_no_file_is_a_sentence(make: Odd, sentence: str) -> None:
    profile.file().parent.mkdir(parents=True)
    make(profile.file())
    assert refused(profile.read) == f"the profile {profile.file()} cannot be read: {sentence}"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(GRID, ""), (b"#" * MOST, "/dev/fd/"), (b"#" * (MOST + 1), "cannot be read: it holds more than 16,777,216 bytes")],
    ids=["grid", "most", "more"],
)
def test_what_the_shell_has_opened_is_read_to_its_end_and_no_further(content: bytes, sentence: str) -> None:
    reading, writing = os.pipe()

    def fill() -> None:
        with open(writing, "wb") as file:
            file.write(content)

    writer = threading.Timer(0.1, fill)  # whoever writes may be slower than who reads
    writer.start()
    try:
        if sentence:
            said = refused(lambda: load(f"/dev/fd/{reading}", Registry()))
            assert sentence in said
            assert ("cannot be read" in said) is (len(content) > MOST)
        else:
            assert len(load(f"/dev/fd/{reading}", Registry()).cells) == 1
    finally:
        writer.join()
        os.close(reading)


def test_a_plugin_that_a_grid_names_may_be_a_circle(here: Path) -> None:
    circle(here / "loop.py")
    (here / "g.toml").write_bytes(GRID.replace(b"normal", b"./loop.py"))
    assert refused(lambda: load("g.toml", Registry())) == f"the plugin is {here}/loop.py, {CIRCLE}"


# ---------------------------------------------------------------- devices, and what `bench new` writes


@pytest.mark.parametrize(
    "device", ["cuda:²", "cuda:٣", "cuda:" + "9" * 5000, "cuda:", "cuda:-1", "cuda:01", "mps:0", ""]
)
def test_a_device_has_a_number_of_plain_digits(device: str) -> None:
    assert "is unknown; allowed: cpu, cuda, cuda:N, mps" in refused(lambda: devices(device))


@pytest.mark.parametrize(("name", "sentence"), [("x" * 300, "too long for a path"), ("x" * 240, "File name too long")])
def test_a_new_plugin_s_name_may_be_too_long(name: str, sentence: str, here: Path) -> None:
    assert sentence in refused(lambda: write("strategy", name, here))
    assert not list(here.rglob("*.part"))


@pytest.mark.parametrize("make", [dangling, circle, os.mkfifo])
def test_what_stands_where_a_new_plugin_goes_is_named_and_kept(make: Odd, here: Path) -> None:
    (here / "strategies").mkdir()
    make(file := here / "strategies" / "ln.py")
    assert refused(lambda: write("strategy", "ln", here)).startswith(f"{file} exists already and is left as it is")
    assert os.path.lexists(file)


def test_of_two_who_write_one_plugin_the_second_is_told_its_name(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "strategies").mkdir()
    (here / "strategies" / "ln.py").touch()
    monkeypatch.setattr(os.path, "lexists", lambda path: False)  # as where the first comes in between
    assert refused(lambda: write("strategy", "ln", here)).startswith(f"{here}/strategies/ln.py exists already")
    with pytest.raises(FileExistsError), creating(here / "strategies" / "ln.py"):
        pass
