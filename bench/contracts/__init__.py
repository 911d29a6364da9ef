"""What every plugin promises, and the suite that holds it to it; and the files that a new plugin starts from.

This room lies above both wings: it finds plugins with the operations and trains them with the science. Neither wing
imports it. The command line does, for `bench check` and `bench new`, and so do tests. What it hands over to the science
is the plugin object itself.
"""

from typing import TYPE_CHECKING

from bench import lazy_members

if TYPE_CHECKING:
    from bench.contracts.examples import write
    from bench.contracts.finding import find, values
    from bench.contracts.suite import check
    from bench.contracts.verdicts import Verdict

__all__ = ["Verdict", "check", "find", "values", "write"]

__getattr__ = lazy_members(__name__, __file__)
