"""Loads the `bench` that this file lies in, whatever else is called so and wherever an interpreter would look for it.

It lies alone in its folder, so that a new interpreter can be told to look there and nowhere else. As a script, it is
what a SLURM job starts: `python -P bench_boot.py FOLDER DIGEST...` (`bench.sweep.slurm.start`).
"""

from __future__ import annotations

import importlib.util
import os
import sys

if "bench" not in sys.modules:
    package = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
    spec = importlib.util.spec_from_file_location("bench", os.path.join(package, "__init__.py"))
    assert spec is not None, "a file that ends in .py has a spec"
    assert spec.loader is not None
    sys.modules["bench"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

if __name__ == "__main__":
    from bench.sweep.slurm.start import main

    main(*sys.argv[1:])
