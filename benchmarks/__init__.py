"""Measurements. Run a script from the root of the project: `python -m benchmarks.speed.scoring`."""
