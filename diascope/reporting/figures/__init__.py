"""Draw what a report shows: pure functions from numbers to matplotlib figures.

Every function returns a `matplotlib.figure.Figure` of its own; nothing touches pyplot's state, and
nothing is written to disk. `diascope.reporting.figures.style` turns a figure into a data URI, and
`diascope.reporting.figures.pictures` does so with images.
"""
