"""Pictures, videos and data sets, their labels unused, to patches around the hands that a detector finds in them."""
