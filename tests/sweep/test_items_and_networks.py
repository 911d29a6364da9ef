"""Networks that cannot do a data set's items are refused before anything is trained."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

GRID = """title = "convolutions on points"
seeds = 1
[[dataset]]
name = "8-gaussians"
[networks]
encoder = { kind = "conv", hidden = [8] }
latent = 2
[[strategy]]
name = "normal"
"""


def test_convolutions_on_points_are_one_sentence_before_training(tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(GRID)
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", "--grid", "grid.toml", "--store", "store"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert " ".join(done.stderr.split()) == (
        "error: grid.toml: data set 8-gaussians: networks.encoder.kind = 'conv' with 1 layer needs images whose sides "
        "are multiples of 2, and an item here is 2; 'mlp' takes any"
    )
    assert not list((tmp_path / "store").glob("cells/*/record-*.json"))
