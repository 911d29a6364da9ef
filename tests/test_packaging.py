"""The wheel, the editable install and the plain clone all find the built-in plugins, wherever they are run from."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RESULTS = ROOT / "results"
BUILT_IN = {
    kind: {file.stem.replace("_", "-") for file in (ROOT / kind).glob("*.py")} for kind in ("strategies", "datasets")
}


def run(*command: str | Path, cwd: Path) -> str:
    """Return what a command prints, run without the variables that could lead it to this checkout."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "BENCH_", "VIRTUAL_ENV"))}
    settings = {
        "OMP_NUM_THREADS": "1",
        "XDG_CACHE_HOME": str(cwd / "cache"),
        # a checkout may belong to another user than the one who tests it
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=kept | settings, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the last commit."""
    if not (ROOT / ".git").exists():
        pytest.skip("the project is not a git checkout")
    folder = tmp_path_factory.mktemp("clone")
    run("git", "clone", "--quiet", "--no-hardlinks", ROOT, folder / "bench", cwd=folder)
    return folder / "bench"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the working tree."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def editable(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `pip install -e` of the clone makes and installs (PEP 660)."""
    folder = tmp_path_factory.mktemp("editable")
    script = "import sys, hatchling.build; hatchling.build.build_editable(sys.argv[1])"
    run(sys.executable, "-c", script, folder, cwd=clone)
    (wheel,) = folder.glob("*.whl")
    return wheel


def environment(folder: Path, wheel: Path) -> Path:
    """Return the `bin` of a new environment with `wheel` and, so that nothing is downloaded, our own libraries."""
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    programs = folder / "venv" / "bin"
    run(
        *(sys.executable, "-m", "pip", "--python", programs / "python", "--disable-pip-version-check"),
        *("install", "--quiet", "--no-deps", "--no-index", wheel),
        cwd=folder,
    )
    libraries = Path(
        sysconfig.get_path("purelib", vars={"base": str(folder / "venv"), "platbase": str(folder / "venv")})
    )
    # a path behind its own: the `bench` that is installed here comes first, and no .pth file of ours is read
    (libraries / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return programs


def home(python: Path, cwd: Path) -> Path:
    """Return the folder of the `bench` package that is imported."""
    return Path(run(python, "-c", "import bench; print(bench.__path__[0])", cwd=cwd).strip())


def lists_every_built_in(listing: str) -> bool:
    words = set(re.findall(r"[\w-]+", listing))
    return words >= BUILT_IN["strategies"] | BUILT_IN["datasets"]


def test_an_installed_wheel_finds_the_built_in_plugins(tmp_path: Path, wheel: Path) -> None:
    programs = environment(tmp_path, wheel)
    assert home(programs / "python", tmp_path).is_relative_to(tmp_path / "venv")
    assert lists_every_built_in(run(programs / "bench", "list", cwd=tmp_path))


def test_an_installed_wheel_reports_the_records_that_come_with_it(tmp_path: Path, wheel: Path) -> None:
    programs = environment(tmp_path, wheel)
    records = "from bench.report.sources import committed; print(sorted({record.grid for record in committed()}))"
    assert run(programs / "python", "-c", records, cwd=tmp_path) == run(
        *(sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {records}"), cwd=tmp_path
    )
    text = run(programs / "bench", "report", "--grid", "mnist", cwd=tmp_path)
    assert "Records: those that come with bench." in text
    assert pq.read_metadata(tmp_path / "report" / "records.parquet").num_rows > 0


def test_an_editable_install_finds_the_built_in_plugins(tmp_path: Path, editable: Path, clone: Path) -> None:
    programs = environment(tmp_path, editable)
    assert home(programs / "python", tmp_path) == clone / "bench"
    assert lists_every_built_in(run(programs / "bench", "list", cwd=tmp_path))


def test_a_plain_clone_finds_the_built_in_plugins(clone: Path) -> None:
    assert home(Path(sys.executable), clone) == clone / "bench"
    assert lists_every_built_in(run(sys.executable, "-m", "bench", "list", cwd=clone))


def test_the_wheel_holds_what_it_needs_and_claims_no_name_but_bench(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"bench"}, (
        "a top-level package `datasets` would break environments with the library of that name"
    )
    expected = {
        "bench/py.typed",
        "bench/grids/digits.toml",
        "bench/grids/mnist.toml",
        "bench/contracts/templates/strategy.py",
        "bench/contracts/templates/dataset.py",
        "bench/_builtin/results/published.json",
        *(f"bench/_builtin/{kind}/{file.name}" for kind in BUILT_IN for file in (ROOT / kind).glob("*.py")),
        *(f"bench/_builtin/results/{file.name}" for kind in ("parquet", "toml") for file in RESULTS.glob(f"*.{kind}")),
        *(
            f"bench/{kind}/{file.name}"
            for kind in ("networks", "energies")
            for file in (ROOT / "bench" / kind).glob("*.py")
        ),
    }
    assert expected <= names
    assert not [name for name in names if name.endswith((".png", ".pdf"))], "pictures stay in the repository"


# ---------------------------------------------------------------- pinned versions

GPU = re.compile("nvidia-|cuda-|triton")


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for requirement in requirements:
        assert requirement.url is None
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), f"{requirement}: one version, not a local one"
    return {plain(requirement.name): str(requirement.specifier)[2:] for requirement in requirements}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_for(requirements: Iterable[Requirement]) -> set[str]:
    """Return the names of all packages that `requirements` brought with them here, directly or not."""
    found: dict[str, set[str]] = {}
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name, extras = plain(requirement.name), {"", *requirement.extras}
        if extras <= found.get(name, set()):
            continue
        found.setdefault(name, set()).update(extras)
        for child in map(Requirement, distribution(name).requires or ()):
            if child.marker is None or any(child.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(child)
    return set(found)


STATED = [Requirement(text) for text in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"])]


def test_everything_that_is_installed_is_pinned() -> None:
    # what a build of torch for GPUs brings is decided by torch's own exact pins
    assert {name for name in installed_for(STATED) - pins().keys() if not GPU.match(name)} == set()


def test_pins_lie_in_the_ranges_that_the_project_states() -> None:
    pinned = pins()
    for requirement in STATED:
        assert requirement.specifier.contains(pinned[plain(requirement.name)]), requirement


def test_torch_is_pinned() -> None:
    assert pins()["torch"] == "2.13.0"
