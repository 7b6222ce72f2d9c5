"""What a bundle answers to images that were spoilt at stated strengths."""
