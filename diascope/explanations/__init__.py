"""Explanations: what a network sees."""
