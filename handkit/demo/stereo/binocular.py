"""`--method binocular`: a mesh where the rays of both views' vertices meet, and the hand model fitted to it."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float

from handkit.demo.hands import HandPair, Sighting, join_rows
from handkit.demo.network import keypoints_of, rows_by_side
from handkit.demo.stereo.method import PairHands, PairMeshes, SeenTwice
from handkit.fit import HandParameters
from handkit.fit.meshes import fit_meshes
from handkit.hand import HandModel
from handkit.images import RgbImage
from handkit.inference.binocular import BinocularHands, load_binocular
from handkit.inference.keypoints import SeenKeypoints
from handkit.inference.load import BINOCULAR, find_checkpoint, warn_of_other_hand, words_of
from handkit.inference.looks import look_at
from handkit.inference.views import View

log = logging.getLogger(__name__)

# So much depth for a pixel of disparity is warned of: most hands are no thicker.
_COARSE_M: Final = 0.02


class BinocularPairs:
    """A lixel network over both views; `checkpoint` as in `find_checkpoint`, `words` as those of `NetworkHands`.

    It says nothing of one view. Raises HandkitError where there are no weights of its kind.
    """

    def __init__(self, checkpoint: Path | None, hands: HandPair, *, device: str = "auto") -> None:
        path = find_checkpoint(checkpoint, BINOCULAR)
        self.predictor = load_binocular(path, device)
        self.words = words_of(self.predictor, path)
        self._hands, self._has_warned = hands, False
        warn_of_other_hand(self.predictor, path, hands.name)

    def pose(self, pairs: Sequence[SeenTwice], right_from_left: Float[np.ndarray, "3 4"]) -> PairHands:
        """Pairs whose rays do not meet before the cameras are refused."""
        right = [pair.right for pair in pairs]
        views = (
            self._view(right, [pair.right_picture for pair in pairs]),
            self._view([pair.left for pair in pairs], [pair.left_picture for pair in pairs]),
        )
        found = self.predictor.pair(*views, right_from_left)
        good = found.rows(torch.nonzero(found.valid)[:, 0])
        self._warn_of_coarse(good)
        seen = [sighting for sighting, why in zip(right, found.why, strict=True) if why is None]
        return PairHands(
            rows_by_side(seen, good, self._hands, _fitted) if seen else join_rows([]),
            {place: why for place, why in enumerate(found.why) if why is not None},
            PairMeshes(good.vertices.numpy(), good.gap_px.numpy()),
        )

    def _view(self, sightings: Sequence[Sighting], pictures: Sequence[RgbImage]) -> View:
        own, points, scores = self.predictor, *keypoints_of(sightings)
        looks = [
            look_at(
                picture,
                own.square(sighting.detection.bbox, keypoints, seen),
                own.size,
                is_right=sighting.detection.is_right,
            )
            for sighting, picture, keypoints, seen in zip(sightings, pictures, points, scores, strict=True)
        ]
        return View(looks, SeenKeypoints(points, scores), np.stack([sighting.K for sighting in sightings]))

    def _warn_of_coarse(self, found: BinocularHands) -> None:
        coarse = found.px_m[found.px_m > _COARSE_M]
        if len(coarse) and not self._has_warned:
            said = (
                "a pixel of disparity is worth %.0f mm of depth: the hands are far off for cameras so near each other"
            )
            log.warning(said, 1000 * float(coarse.median()))
            self._has_warned = True


def _fitted(found: BinocularHands, _: Float[np.ndarray, "N 3 3"], hand: HandModel) -> HandParameters:
    """Parameters of meshes, which are the less sure the further along their rays."""
    return fit_meshes(found.vertices, hand, hand.side == "right", sigma=found.sigma)
