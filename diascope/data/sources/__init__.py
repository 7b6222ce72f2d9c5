"""Where images are read from: folders, archives, arrays."""
