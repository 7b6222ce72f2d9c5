"""What simpler things reach on the same images, so that a network's figure can be judged."""
