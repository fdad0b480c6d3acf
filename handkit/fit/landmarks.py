"""What the landmarks of each source mean for the hand's own joints, and how far they are trusted."""

from dataclasses import dataclass, field
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class LandmarkSource:
    """`shifts` moves a landmark: joint i is seen at (1 - f) joint i + f joint k for every (i, k, f).

    image_sigma: standard deviation of a keypoint as a fraction of the hand's larger side in the image.
    point_sigma_m: of the relative 3D landmarks along the camera's x, y and z.
    """

    image_sigma: float = 0.02
    point_sigma_m: tuple[float, float, float] = (0.01, 0.01, 0.02)
    shifts: tuple[tuple[int, int, float], ...] = field(default=())

    def matrix(self) -> Float[Tensor, "21 21"] | None:
        """Landmarks = matrix @ joints; None where they are the joints themselves."""
        return _matrix(self.shifts) if self.shifts else None


@lru_cache(maxsize=8)
def _matrix(shifts: tuple[tuple[int, int, float], ...]) -> Float[Tensor, "21 21"]:
    matrix = torch.eye(21, dtype=torch.float64)
    for i, k, fraction in shifts:
        matrix[i, i] -= fraction
        matrix[i, k] += fraction
    return matrix


LANDMARKS = {
    "joints": LandmarkSource(),
    "mediapipe": LandmarkSource(point_sigma_m=(0.01, 0.01, 0.012)),
    "openpose": LandmarkSource(image_sigma=0.03),
}
