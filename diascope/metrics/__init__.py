"""How good predictions are, and how sure of it we may be: every metric with an interval by group.

`diascope.metrics.evaluation.evaluate_predictions` is the way in.
"""
