"""Methods that see both views of a hand at once, and `--method handnet` with weights of two views."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from jaxtyping import Float

from handkit.demo.hands import HandPair, Sighting
from handkit.demo.network import keypoints_of, rows_by_side
from handkit.errors import HandkitError
from handkit.export.predictions import Predictions
from handkit.hand.stereo import CameraFusion
from handkit.images import RgbImage
from handkit.inference.handnet import HandNetPredictor
from handkit.inference.keypoints import SeenKeypoints
from handkit.inference.load import HANDNET_STEREO
from handkit.inference.looks import look_at, square_around_joints
from handkit.inference.placing import hands_in_camera
from handkit.inference.views import View


@dataclass(frozen=True, eq=False)
class SeenTwice:
    """One hand as both views' looked-at pictures show it; the sightings agree about its side."""

    left: Sighting
    right: Sighting
    left_picture: RgbImage
    right_picture: RgbImage


@dataclass(frozen=True, eq=False)
class PairMeshes:
    """Meshes that a method recovered, in metres, and by how many pixels the views have their vertices apart."""

    vertices: Float[np.ndarray, "N 778 3"]
    gap_px: Float[np.ndarray, " N"]


@dataclass(frozen=True, eq=False)
class PairHands:
    """What a method says of some pairs: in their order the hands of all that are not refused, by their right views.

    refused: by their places, the pairs of which it says nothing, and why. meshes: of methods that recover meshes, those
    of the rows, which are of the hand model's parameters.
    """

    rows: Predictions
    refused: dict[int, str] = field(default_factory=dict)
    meshes: PairMeshes | None = None


class PairMethod(Protocol):
    """Poses hands from two views of them."""

    def pose(self, pairs: Sequence[SeenTwice], right_from_left: Float[np.ndarray, "3 4"]) -> PairHands:
        """The hands of at least one pair in front of the right looked-at camera.

        right_from_left: [R|t], x_right = R x_left + t, t in metres; R is any turn.
        """


class HandNetPairs:
    """HandNet's network of two views, Eq. 6 and 7; `camera` says where the hand stands, see `fuse_hands`."""

    def __init__(self, predictor: HandNetPredictor, hands: HandPair, camera: CameraFusion) -> None:
        if not predictor.network.stereo_views:
            raise HandkitError("--stereo: the checkpoint has no weights of two views", HANDNET_STEREO.how)
        self._predictor, self._hands, self._camera = predictor, hands, camera

    def pose(self, pairs: Sequence[SeenTwice], right_from_left: Float[np.ndarray, "3 4"]) -> PairHands:
        right = [pair.right for pair in pairs]
        views = [
            self._view(sightings, pictures)
            for sightings, pictures in (
                (right, [pair.right_picture for pair in pairs]),
                ([pair.left for pair in pairs], [pair.left_picture for pair in pairs]),
            )
        ]
        found = self._predictor.pair(views[0], views[1], right_from_left, camera=self._camera)
        return PairHands(rows_by_side(right, found.right, self._hands, hands_in_camera))

    def _view(self, sightings: Sequence[Sighting], pictures: Sequence[RgbImage]) -> View:
        own = self._predictor
        looks = [
            look_at(
                picture,
                square_around_joints(sighting.detection.bbox, own.box_scale),
                own.size,
                is_right=sighting.detection.is_right,
            )
            for sighting, picture in zip(sightings, pictures, strict=True)
        ]
        return View(looks, SeenKeypoints(*keypoints_of(sightings)), np.stack([sighting.K for sighting in sightings]))
