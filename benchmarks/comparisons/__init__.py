"""One file per comparison; its name is the name on the command line."""
