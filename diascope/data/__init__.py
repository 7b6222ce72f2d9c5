"""Data: read, check, group, split, pack, augment."""
