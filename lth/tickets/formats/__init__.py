"""Reading and writing the files of other programs, and of lth, without running what they hold."""
