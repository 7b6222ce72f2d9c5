"""Synthetic cells, drawn."""
