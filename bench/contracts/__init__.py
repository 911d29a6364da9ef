"""What every plugin promises, and the suite that holds it to it; and the files that a new plugin starts from.

This room lies above both wings: it finds plugins with the operations and trains them with the science. Neither wing
imports it. The command line does, for `bench check` and `bench new`, and so do tests. What it hands over to the science
is the plugin object itself.
"""

from bench.contracts.suite import check, find, usual, values, write
from bench.contracts.verdicts import Verdict

__all__ = ["Verdict", "check", "find", "usual", "values", "write"]
