"""`lth ticket`: one module for each kind of command, and the parser that joins them."""
