"""How long the unit of a rig is that does not say it, by the palms of the hands before it."""

from typing import Final

import numpy as np
import torch
from jaxtyping import Float

from handkit.fit.landmarks import LANDMARKS
from handkit.geometry.procrustes import procrustes
from handkit.hand import HandModel, ManoLayer

# The wrist and the fingers' bases, which no pose moves against each other.
PALM: Final = (0, 5, 9, 13, 17)
_LEAST_POINTS: Final = 4


def unit_of_palms(points: Float[np.ndarray, "N 21 3"], hand: HandModel) -> float | None:
    """Metres of the points' unit if the hands are as large as the model's mean hand, on the median; None without any.

    points: MediaPipe's keypoints where two views' rays meet, NaN where unknown. The mean palm is laid onto each hand's,
    as noise makes every bone longer: 18 mm of it in depth put bones 15 % off, palms 2.5 %. A hand's own size stays
    unknown, and MediaPipe's 3D landmarks do not tell it either: before the cameras of a keyboard of 19.05 mm from key
    to key, fits with them were 20 % too small, the mean palm 9 %.
    """
    palms = points[:, PALM]
    known = np.isfinite(palms).all(-1)
    enough = known.sum(1) >= _LEAST_POINTS
    if not enough.any():
        return None
    own = _landmarks(hand)[list(PALM)]
    targets = torch.from_numpy(np.where(known[..., None], palms, 0.0)[enough]).double()
    weights = torch.from_numpy(known[enough]).double()
    # A palm is flat: whether it is a left or a right one does not change its size.
    scale = procrustes(own.expand_as(targets), targets, reflection=True, weights=weights).scale
    return 1 / float(scale.clamp_min(1e-9).median())


def _landmarks(hand: HandModel) -> Float[torch.Tensor, "21 3"]:
    """Where MediaPipe sees the joints of the mean hand at rest."""
    zeros = {"global_orient": 3, "hand_pose": 45, "betas": 10, "transl": 3}
    with torch.no_grad():
        joints = ManoLayer(hand)(**{name: torch.zeros(1, size) for name, size in zeros.items()}).joints[0].double()
    shifts = LANDMARKS["mediapipe"].matrix(hand.name)
    return joints if shifts is None else shifts @ joints
