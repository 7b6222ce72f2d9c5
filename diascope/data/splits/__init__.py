"""Train, val and test, folds and members: never dividing a group."""
