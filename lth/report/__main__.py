"""`python -m lth.report`: the same as `lth report`."""

import sys

from lth.cli.main import main

if __name__ == "__main__":
    main(["report", *sys.argv[1:]])
