"""`python -m lth`: the same as the command `lth`."""

from lth.cli.main import main

if __name__ == "__main__":
    main()
