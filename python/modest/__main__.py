"""The program `modest`: `python -m modest www` serves a folder."""

import signal
import sys

from . import _modest


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own handler would raise KeyboardInterrupt after the shutdown
    return _modest.run(["modest", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
