"""`python -m bench`: the command line, from a plain clone too."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the working directory, where a `signal.py` may lie; this package is loaded by now

    from bench.cli import main

    main()
