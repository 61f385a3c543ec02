"""An experiment: built from its configuration, checked, and trained level by level."""
