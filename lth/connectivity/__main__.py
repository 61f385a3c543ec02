"""`python -m lth.connectivity`: the same as `lth connectivity`."""

import sys

from lth.cli.main import main

if __name__ == "__main__":
    main(["connectivity", *sys.argv[1:]])
