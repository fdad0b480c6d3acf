"""Rendering: soft and differentiable (`soft_silhouette`, `soft_render`), hard (`hard`), and for people (`overlay`)."""

from handkit.render.soft import SoftImage, soft_render, soft_silhouette, to_pixels, to_pixels_weak

__all__ = ["SoftImage", "soft_render", "soft_silhouette", "to_pixels", "to_pixels_weak"]
