"""Checklists of the field, answered from a run."""
