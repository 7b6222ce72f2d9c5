"""How well a network copes with images that were corrupted at stated strengths."""

MOST_IMAGES = 200  # images that are corrupted by default
