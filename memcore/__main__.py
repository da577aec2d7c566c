"""``python -m memcore`` is the ``memcore`` command."""

import sys

from memcore.cli import program

if __name__ == "__main__":
    sys.exit(program())
