"""The page of a look at the data."""
