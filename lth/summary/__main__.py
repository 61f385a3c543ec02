"""`python -m lth.summary`: the same as `lth summary`."""

import sys

from lth.cli.main import main

if __name__ == "__main__":
    main(["summary", *sys.argv[1:]])
