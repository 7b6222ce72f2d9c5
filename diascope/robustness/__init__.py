"""What a bundle answers to images that were spoilt at stated strengths."""

MOST_IMAGES = 200  # that are spoilt, where nothing is said
