"""A plugin has passed `bench check` if this very code did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import contracts
from bench.plugins import Plugin, Registry
from bench.sweep import receipts

ROOT = Path(__file__).resolve().parents[2]


def energy(folder: Path) -> Plugin:
    return Registry([folder]).find("energy", "my-energy")


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a plugin, and a cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "mine" / "energies" / "my_energy.py"
    file.parent.mkdir(parents=True)
    file.write_text((ROOT / "bench" / "contracts" / "templates" / "energy.py").read_text())
    return tmp_path / "mine"


def test_a_built_in_plugin_needs_no_receipt(plugins: Path) -> None:
    registry = Registry()
    for kind, name in (("strategy", "normal"), ("dataset", "digits"), ("network", "mlp"), ("energy", "grbm")):
        assert receipts.checked(registry.find(kind, name))  # type: ignore[arg-type]


def test_a_receipt_is_for_the_code_that_passed_and_no_other(plugins: Path, tmp_path: Path) -> None:
    assert not receipts.checked(energy(plugins))
    receipts.keep(energy(plugins), receipts.fingerprint(energy(plugins)))
    assert receipts.checked(energy(plugins))
    (file,) = (tmp_path / "cache").rglob("checked/*.json")
    assert json.loads(file.read_bytes())["name"] == "my-energy"
    source = energy(plugins).file
    source.write_text(source.read_text() + "\n# a comment changes nothing\n")
    assert receipts.checked(energy(plugins))
    source.write_text(source.read_text() + "\nNOISE = 1\n")
    assert not receipts.checked(energy(plugins))
    source.write_text("this is no Python")
    assert not receipts.checked(energy(plugins))


def test_bench_check_leaves_one_where_nothing_is_broken(plugins: Path, tmp_path: Path) -> None:
    """Of a network, which is the quickest to check."""
    source = plugins / "networks" / "my_net.py"
    source.parent.mkdir()
    source.write_text((ROOT / "bench" / "contracts" / "templates" / "network.py").read_text())
    command = [sys.executable, "-m", "bench", "check", "my-net", "--plugins", "mine"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=240)
    assert receipts.checked(Registry([plugins]).find("network", "my-net"))
    source.write_text(source.read_text().replace("silu", "relu"))
    assert not receipts.checked(Registry([plugins]).find("network", "my-net"))


def test_a_check_of_changed_defaults_is_none_of_the_plugin(plugins: Path) -> None:
    assert contracts.usual(energy(plugins), {})
    assert not contracts.usual(energy(plugins), {"hidden": 8})
    arrays = Registry().find("dataset", "arrays")  # whose fields have no defaults
    assert contracts.usual(arrays, {"sha256": "0" * 64})
    assert not contracts.usual(arrays, {"sha256": "0" * 64, "likelihood": "gaussian"})
