"""A ticket for other programs: each format is a file here whose `write` says what it made, and checks it first."""
