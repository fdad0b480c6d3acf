"""What the values of a generated mask.png mean."""

from typing import Final

BACKGROUND: Final = 0
OCCLUDER: Final = 64
FOREARM: Final = 128
HAND: Final = 255
