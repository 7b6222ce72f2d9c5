"""The machine, its files and folders; nothing of images."""
