"""What a job's script starts, with FOLDER DIGEST... (`bench.sweep.boot.bench_boot`).

The cells of an array's job n lie in FOLDER/n.pickle. SLURM keeps the script from its submission on, and with it the
digest of every such file: one that somebody who may write in the store has put in its place is not loaded.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import sys
from pathlib import Path


def main(folder: str, *digests: str) -> None:
    """Carry out this job's cells, where they are those that were submitted."""
    signal.signal(signal.SIGTERM, lambda number, frame: None)  # a preempted job has to live until SLURM ends it
    task = int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
    file = Path(folder) / f"{task}.pickle"
    try:
        content = file.read_bytes()
    except OSError as error:
        sys.exit(f"error: {file} cannot be read: {error.strerror}")
    if hashlib.sha256(content).hexdigest() != digests[task]:
        sys.exit(f"error: {file} is not what was submitted; nothing of it is carried out")
    pickle.loads(content)()
