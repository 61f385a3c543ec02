"""The command `lth` with its subcommands run, report, ticket, summary, sensitivity, connectivity and verdict."""
