"""`python -m lth.verdict`: the same as `lth verdict`."""

import sys

from lth.cli.main import main

if __name__ == "__main__":
    main(["verdict", *sys.argv[1:]])
