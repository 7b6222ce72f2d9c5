"""Explanations of images: pages, pictures and tables."""
