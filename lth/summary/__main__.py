"""`python -m lth.summary`: the same as `lth summary`."""

from lth.cli.summary import main

if __name__ == "__main__":
    main()
