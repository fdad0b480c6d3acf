"""handkit: 3D hands from images and video."""

__version__ = "0.1.0"
