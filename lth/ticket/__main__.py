"""`python -m lth.ticket`: the same as `lth ticket`."""

from lth.cli.ticket.command import main

if __name__ == "__main__":
    main()
