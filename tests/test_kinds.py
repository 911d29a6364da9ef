"""A plugin of every kind, wherever it comes from, takes part in a grid; what changes in it is seen."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.contracts import check
from bench.contracts import write as new
from bench.grid import load
from bench.plugins import Kind, Registry

ROOT = Path(__file__).resolve().parents[1]

STRATEGY = """
from typing import ClassVar
from bench import objectives
from bench.strategy import EnergyStrategy

class Mine(EnergyStrategy):
    \"\"\"Score matching.\"\"\"

    reach: ClassVar = {"prior": frozenset({"score-matching"})}

    def objective(self, model, z, posterior, noise):
        yield "score-matching", objectives.sliced(model.prior, z, noise.rademacher(*z.shape))
"""

DATASET = """
from typing import ClassVar
from bench.data import Dataset, split

class Mine(Dataset):
    \"\"\"Three numbers between 0 and 1.\"\"\"

    version: ClassVar[str] = "1"
    unit: ClassVar[str] = "nats"

    @staticmethod
    def likelihood():
        \"\"\"Beta densities around the decoder's output.\"\"\"
        import torch
        from bench.vae import Likelihood

        class Beta(Likelihood):
            bounds = (0.0, 1.0)

            def counts(self, parameters):
                share = torch.sigmoid(parameters)
                return 1 + 8 * share, 1 + 8 * (1 - share)

            def log_prob(self, x, parameters):
                a, b = self.counts(parameters)
                return torch.distributions.Beta(a, b).log_prob(x.expand_as(a)).sum(-1)

            def mean(self, parameters):
                return self.counts(parameters)[0] / 10

            def sample(self, parameters, noise):
                from scipy.stats import beta

                a, b = (counts.numpy() for counts in self.counts(parameters))
                return torch.from_numpy(beta.ppf(noise.uniform(*parameters.shape).numpy(), a, b)).float()

        return Beta()

    def load(self, folder):
        import numpy as np
        draws = np.random.default_rng(0).uniform(0.05, 0.95, (120, 3)).astype(np.float32)
        return split(draws[:100], draws[100:])

    def prepare(self, x, noise):
        return x
"""

GRID = """title = "mine"
seeds = 1
{datasets}
[networks]
encoder = {{ kind = {encoder}, hidden = [8] }}
decoder = {{ kind = {decoder}, hidden = [8] }}
latent = 2
[train]
epochs = 1
batch_size = 50
[evaluate]
vlb_samples = 2
importance_samples = 4
ais = {{ temperatures = 10, chains = 4 }}
ais_nll = {{ images = 0, simulated = 0 }}
{strategies}
"""


def grid(dataset: list[str], strategy: list[str], network: list[str], energy: list[str]) -> str:
    """Return a grid of plugins: the last network decodes, the others encode; each strategy has its own energy."""
    pairs = zip(strategy, energy, strict=True)
    return GRID.format(
        datasets="\n".join(f'[[dataset]]\nname = "{name}"' for name in dataset),
        encoder=json.dumps(network[:-1] or network),
        decoder=json.dumps(network[-1]),
        strategies="\n".join(
            f'[[strategy]]\nname = "{name}"\nenergy = {{ kind = "{kind}", hidden = 4 }}\nsampler = {{ steps = 1 }}'
            for name, kind in pairs
        ),
    )


KINDS: dict[Kind, str] = {"strategy": "strategies", "dataset": "datasets", "network": "networks", "energy": "energies"}


def bench(folder: Path, *arguments: str, site: Path | None = None) -> str:
    """Run `bench` in a folder, with a folder of installed packages, and return what it prints; it must succeed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
    paths = os.pathsep.join(str(path) for path in (ROOT, site) if path)
    settings = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    settings |= {"XDG_CACHE_HOME": str(folder / "cache"), "XDG_CONFIG_HOME": str(folder / "config")}
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=folder,
        env=kept | settings,
        text=True,
        capture_output=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def sources(tmp_path: Path) -> dict[Kind, str]:
    """The source of a plugin of each kind; networks and energies are what `bench new` writes, with shorter chains."""
    written: dict[Kind, str] = {"strategy": STRATEGY, "dataset": DATASET}
    kinds: tuple[Kind, ...] = ("network", "energy")
    for kind in kinds:
        written[kind] = new(kind, "mine", tmp_path / "written").read_text()
    assert "latent), 1000, 0.05, noise" in written["energy"]
    written["energy"] = written["energy"].replace("latent), 1000, 0.05, noise", "latent), 20, 0.05, noise")
    return written


def write(folder: Path, sources: dict[Kind, str], stem: str) -> dict[Kind, Path]:
    """Write the plugins of one origin."""
    files: dict[Kind, Path] = {}
    for kind, source in sources.items():
        files[kind] = folder / KINDS[kind] / f"{stem}.py"
        files[kind].parent.mkdir(parents=True, exist_ok=True)
        files[kind].write_text(source)
    return files


def install(site: Path, sources: dict[Kind, str], name: str) -> Path:
    """Install a package that offers all four, each of which uses a helper module; return the helper."""
    package = site / "vendor"
    for kind, source in sources.items():
        (package / KINDS[kind]).mkdir(parents=True)
        (package / KINDS[kind] / "__init__.py").write_text("")
        (package / KINDS[kind] / "own.py").write_text(
            source.replace("\nclass ", "\nfrom vendor import helper\n\nclass ", 1)
        )
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("VALUE = 1\n")
    metadata = site / "vendor-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: vendor\nVersion: 1\n")
    points = (f"[bench.{group}]\n{name} = vendor.{group}.own\n" for group in KINDS.values())
    (metadata / "entry_points.txt").write_text("".join(points))
    return package / "helper.py"


def rows(folder: Path, pattern: str = "*") -> list[dict[str, object]]:
    return [json.loads(file.read_text()) for file in sorted(folder.glob(f"runs/{pattern}/cells/*/record-*.json"))]


def test_four_kinds_from_folders_files_and_packages_share_a_grid(tmp_path: Path, sources: dict[Kind, str]) -> None:
    folder, loose, site = tmp_path / "plugins", tmp_path / "loose", tmp_path / "site"
    write(folder, sources, "in_folder")
    files = write(loose, sources, "as_file")
    helper = install(site, sources, "installed")

    names = {kind: ["in-folder", str(file.relative_to(tmp_path)), "installed"] for kind, file in files.items()}
    names["energy"].append(names["energy"].pop(0))  # from another place than its strategy
    (tmp_path / "mine.toml").write_text(grid(**names))
    options = ("--grid", "mine.toml", "--plugins", "plugins")
    said = bench(tmp_path, "run", *options, "--jobs", "1", site=site)
    records = rows(tmp_path)
    assert {record["status"] for record in records} == {"ok"}, said
    assert len(records) == 3 * 3 * 2, "data sets, strategies, encoders"

    def missing() -> list[str]:
        lines = bench(tmp_path, "status", "--why", *options, site=site).splitlines()
        return [line for line in lines if "missing: the code of one of its plugins changed" in line]

    assert missing() == []
    original = helper.read_text()
    helper.write_text("VALUE = 2\n")
    assert len(missing()) == 18, "each has an installed decoder"
    helper.write_text(original)
    files["network"].write_text(files["network"].read_text() + "\nEDITED = True\n")
    changed = missing()
    assert len(changed) == 9
    assert all("networks.encoder.kind=as-file" in line for line in changed)


def test_an_id_does_not_depend_on_the_path(tmp_path: Path, sources: dict[Kind, str]) -> None:
    ids = []
    for place in ("here", "elsewhere/deeper"):
        files = write(tmp_path / place, sources, "mine")
        file = tmp_path / place / "mine.toml"
        file.write_text(grid(**{kind: [str(file)] for kind, file in files.items()}))
        ids.append([cell.id for cell in load(str(file), Registry()).cells])
    write(tmp_path / "folder", sources, "mine")
    (tmp_path / "named.toml").write_text(grid(**{kind: ["mine"] for kind in KINDS}))
    ids.append([cell.id for cell in load(str(tmp_path / "named.toml"), Registry([tmp_path / "folder"])).cells])
    assert ids[0] == ids[1] == ids[2]


@pytest.mark.parametrize(
    "settings",
    [
        ["networks.encoder.kind=./networks/mine.py", "strategy.sliced-score-matching.energy={kind='energies/mine.py'}"],
        {
            "networks.encoder": {"kind": "networks/mine.py"},
            "strategy.sliced-score-matching.energy.kind": "./energies/mine.py",
        },
    ],
)
def test_a_file_that_is_set_is_kept_by_its_whole_path(
    tmp_path: Path, sources: dict[Kind, str], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run store's plan is read from anywhere."""
    files = write(tmp_path, sources, "mine")
    monkeypatch.chdir(tmp_path)
    tables = {"dataset": [{"name": "digits"}], "strategy": [{"name": "sliced-score-matching"}]}
    source = load(tables, Registry(), settings=settings).source
    assert source["networks"]["encoder"]["kind"] == str(files["network"])
    assert source["strategy"][0]["energy"]["kind"] == str(files["energy"])


def test_a_strategy_is_checked_with_an_energy_of_ones_own(tmp_path: Path, sources: dict[Kind, str]) -> None:
    write(tmp_path, {kind: source for kind, source in sources.items() if kind != "dataset"}, "mine")
    registry = Registry([tmp_path])
    plugin = registry.find("strategy", "sliced-score-matching")
    # to the third, which trains in a process of its own
    verdicts = [*itertools.islice(check(plugin, {"energy": {"kind": "mine"}}, components=registry.component), 3)]
    assert [(verdict.contract, verdict.status) for verdict in verdicts] == [
        ("hyper-parameters", "pass"),
        ("shapes", "pass"),
        ("budget", "pass"),
    ]


def test_a_data_set_that_brings_a_likelihood_keeps_its_contracts(tmp_path: Path, sources: dict[Kind, str]) -> None:
    files = write(tmp_path, sources, "mine")
    verdicts = list(check(Registry().find("dataset", str(files["dataset"])), data=tmp_path))
    assert {verdict.contract: verdict.status for verdict in verdicts if verdict.status != "pass"} == {
        "validation": "not checked",  # it has no such option
        "capture": "not checked",  # its likelihood asks for a number, and it does not say that it can be captured
    }
    reason = next(verdict.reason for verdict in verdicts if verdict.contract == "likelihood")
    assert "it integrates to 1, and its samples lie within" in reason
