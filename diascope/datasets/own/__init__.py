"""The user's own images: a folder of classes, or a table."""
