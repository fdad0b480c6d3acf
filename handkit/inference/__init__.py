"""Trained networks over time: pictures of hands in, hands in the full image and in its camera out."""
