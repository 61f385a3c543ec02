"""`python -m lth.sensitivity`: the same as `lth sensitivity`."""

from lth.cli.sensitivity import main

if __name__ == "__main__":
    main()
