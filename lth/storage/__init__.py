"""Files that a run leaves and reads again."""
