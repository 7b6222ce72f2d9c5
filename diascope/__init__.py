"""Train, check, explain and serve image classifiers for medical diagnosis.

Importing this package loads nothing heavy: every function is fetched at its first use.
"""
