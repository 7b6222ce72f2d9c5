"""How good a network is, and when not to believe it."""
