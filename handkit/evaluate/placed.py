"""Found hands of the full image as rows: before their pinhole cameras, or about their origin where those are weak."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from handkit.demo.hands import HandPair
from handkit.demo.network import rows_by_side
from handkit.evaluate.looking import WEAK, Looked
from handkit.evaluate.rows import OwnRows
from handkit.inference.placing import HandsInImage, hands_about_origin, hands_in_camera, weak_K


def rows_in_cameras(looked: Sequence[Looked], found: HandsInImage, hands: HandPair) -> list[OwnRows]:
    """The hands of looks in order, all of which have a sighting; those of weak cameras come first.

    Their rows have the weak camera, found with the hand, as the first two rows of K, and are projected by it.
    """
    sightings = [one.sighting for one in looked if one.sighting is not None]
    is_weak = torch.tensor([one.camera == WEAK for one in looked], dtype=torch.bool)
    parts = []
    if bool(is_weak.any()):
        weak = found.rows(is_weak)
        seen = [sightings[i] for i in np.flatnonzero(is_weak)]
        rows = rows_by_side(seen, weak, hands, hands_about_origin)
        K = weak_K(weak, rows.joints_3d[:, 0])
        flat = K[:, None, [0, 1], [0, 1]] * rows.joints_3d[..., :2] + K[:, None, :2, 2]
        parts.append(OwnRows(replace(rows, K=K, joints_2d=flat)))
    if not bool(is_weak.all()):
        seen = [sightings[i] for i in np.flatnonzero(~is_weak)]
        parts.append(OwnRows(rows_by_side(seen, found.rows(~is_weak), hands, hands_in_camera)))
    return parts
