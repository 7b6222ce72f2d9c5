"""Models: one file each, found by scanning."""
