"""What can be wrong with a data set before anything is trained on it, one subject a file."""

MOST_IMAGES = 15_000  # looked at by default
