"""Steps: one file, one function, one verb of the command line."""
