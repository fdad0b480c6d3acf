"""What the landmarks of each source mean for the hand's own joints, and how far they are trusted."""

from dataclasses import dataclass
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

    image_sigma: float = 0.015
    point_sigma_m: tuple[float, float, float] = (0.01, 0.01, 0.012)
    shifts: tuple[tuple[int, int, float], ...] = ()

    def matrix(self, hand_name: str) -> Float[Tensor, "21 21"] | None:
        """Landmarks = matrix @ joints; None where they are taken as the joints themselves.

        The shifts are known against the open hand's joints only.
        """
        return _matrix(self.shifts) if self.shifts and hand_name == "open" else None


@lru_cache(maxsize=8)
def _matrix(shifts: tuple[tuple[int, int, float], ...]) -> Float[Tensor, "21 21"]:
    matrix = torch.eye(21, dtype=torch.float64)
    for i, k, fraction in shifts:
        matrix[i, i] -= fraction
        matrix[i, k] += fraction
    return matrix


# Where MediaPipe's landmarks lie against the open hand's joints, measured on half of Hand Graph CNN's real crops: its
# knuckles a tenth of the proximal phalanx further out, its tips in the pulp, short of the skin's end.
_MEDIAPIPE_SHIFTS = (
    *((knuckle, knuckle + 1, 0.1) for knuckle in (5, 9, 13, 17)),
    *((tip, tip - 1, 0.15) for tip in (4, 8, 12, 16, 20)),
)

LANDMARKS = {
    "joints": LandmarkSource(),
    "mediapipe": LandmarkSource(shifts=_MEDIAPIPE_SHIFTS),
    "openpose": LandmarkSource(image_sigma=0.03),
}
