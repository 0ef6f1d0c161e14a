"""The program `modest`: `python -m modest www` serves a folder."""

import sys

from . import _modest


def main() -> int:
    return _modest.run(["modest", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
