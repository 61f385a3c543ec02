"""`python -m lth.connectivity`: the same as `lth connectivity`."""

from lth.cli.connectivity import main

if __name__ == "__main__":
    main()
