"""The command `lth`; its subcommands are listed in `lth.cli.main.COMMANDS`."""
