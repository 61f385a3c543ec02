"""`python -m lth.verdict`: the same as `lth verdict`."""

from lth.cli.verdict import main

if __name__ == "__main__":
    main()
