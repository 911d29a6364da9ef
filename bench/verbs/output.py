"""Standard output and errors that never end a command: what cannot be printed is replaced or dropped, not raised.

Results lie in files before they are printed. A pipe whose reader has gone, a full disk behind `>` or a terminal that
went with its connection loses the print alone.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, TextIO


class Lenient(io.FileIO):
    """A file of which failures to write are kept, not raised.

    Attributes:
        failure: the first; None where all could be written.
    """

    failure: OSError | None = None

    def write(self, content: Any) -> int:
        """Write as much as can be; say that it was all."""
        try:
            return super().write(content) or 0
        except OSError as error:
            self.failure = self.failure or error
            return len(memoryview(content).cast("B"))


def prepare() -> tuple[Lenient, ...]:
    """Make this process's standard output and errors lenient; return what they write to.

    Those that are closed are opened to nowhere first, so that no file that is opened later takes their place.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    kept = []
    for number, name in ((1, "stdout"), (2, "stderr")):
        before: TextIO | None = getattr(sys, name)
        file = Lenient(number, "w", closefd=False)
        stream = io.TextIOWrapper(
            io.BufferedWriter(file),
            encoding=before.encoding if before else "utf-8",
            errors="replace",
            line_buffering=number == 2 or file.isatty(),
        )
        setattr(sys, name, stream)
        kept.append(file)
    return tuple(kept)


def failure(output: Lenient) -> str:
    """Return, in words, why something was not printed; empty where all was, or where its reader had read enough."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        return ""
    if output.failure is None or output.failure.errno == errno.EPIPE:
        return ""
    return f"the output could not be printed ({output.failure.strerror}); what a command writes into files is there"
