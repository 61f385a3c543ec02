"""`python -m lth.sensitivity`: the same as `lth sensitivity`."""

import sys

from lth.cli.main import main

if __name__ == "__main__":
    main(["sensitivity", *sys.argv[1:]])
