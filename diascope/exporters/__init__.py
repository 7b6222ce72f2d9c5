"""Exporters: a bundle in other people's layouts; one file each, found by scanning."""
