"""`python -m lth.report`: the same as `lth report`."""

from lth.cli.report import main

if __name__ == "__main__":
    main()
