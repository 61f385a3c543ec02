"""`python -m lth.run`: the same as `lth run`. Jobs of a sweep and ranks of a distributed run are started with it."""

from lth.cli.run import main

if __name__ == "__main__":
    main()
