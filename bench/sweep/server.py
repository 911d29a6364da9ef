"""What the server of `bench.sweep.processes` is before it loads libraries. Only the server imports this file."""

from __future__ import annotations

import signal
import sys

from bench.sweep.processes import end_with_parent, one_thread

one_thread()
end_with_parent()
# these reach every process of a terminal or a job; the parent answers them, and the server has to outlive its workers
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
    signal.signal(number, signal.SIG_IGN)
# a parent that ends while it starts a worker leaves one that never hears what to do, and has nothing to say of that
sys.excepthook = lambda kind, error, trace: None if kind is EOFError else sys.__excepthook__(kind, error, trace)
