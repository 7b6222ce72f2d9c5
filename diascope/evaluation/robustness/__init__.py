"""How well a network copes with images that were corrupted at stated strengths."""

MOST_IMAGES = 60  # images that are corrupted by default
FEWEST_IMAGES = 24  # that are corrupted without being asked
AFFORDABLE = 2 * 10**12  # multiply-adds that the check takes without being asked: about a minute
N_SCORED = 31  # times that each image is scored: ten corruptions at three strengths, and as it is


def affordable_images(multiply_adds: int, most_images: int) -> int:
    """Return how many images are corrupted without being asked; 0 where the network is too large.

    ``multiply_adds`` are those of one prediction of one image. The number follows from them and not
    from a clock, so that it is the same on every machine.
    """
    number = min(most_images, AFFORDABLE // (N_SCORED * max(1, multiply_adds)))
    return number if number >= min(FEWEST_IMAGES, most_images) else 0
