"""As many cells run at a time as there are cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.sweep.limits import cores

GROUPS = "sys/fs/cgroup"


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 64 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)


def tree(root: Path, **files: str) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("own", "files", "most"),
    [
        ("0::/\n", {}, 64),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, 64),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n", "cpu.max": "max 100000\n"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "800000 100000\n", "a/cpu.max": "max 100000\n"}, 8),
        ("0::/not/to/be/seen\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/../../above\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "what is this\n"}, 64),
        ("0::/\n", {"cpu.max": "100000 0\n"}, 64),
        ("nonsense\n\n:\n", {"cpu.max": "max"}, 64),
        (
            "5:cpu,cpuacct:/a\n4:cpuset:/c\n0::/\n",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "50000\n"},
            5,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ("1:cpu,cpuacct:/d\n", {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ("4:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
    ],
)
def test_a_quota_of_the_control_groups_counts(tmp_path: Path, own: str, files: dict[str, str], most: int) -> None:
    placed = {f"{GROUPS}/{name}": content for name, content in files.items()}
    assert cores(tree(tmp_path, **{"proc/self/cgroup": own}, **placed)) == most


@pytest.mark.usefixtures("many")
def test_where_there_are_no_control_groups_affinity_counts(tmp_path: Path) -> None:
    assert cores(tmp_path) == 64


def test_here_there_is_a_core_at_least() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
