"""The binocular network as a method: both views of a pair, and points where their rays meet.

Convention: a row stands in the camera of its own sample, absolute: nothing is aligned to anything. Its mesh and its
joints, regressed from the mesh, are what the network recovered; its parameters are those of the hand fitted to that
mesh, and `vertex_offsets` what lies between the two.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float

from handkit.conventions import JOINT_NAMES
from handkit.data.annotations import AnnotatedDataset
from handkit.data.hands import HandSet
from handkit.data.sample import HandSample
from handkit.demo.hands import HandPair, Sighting, join_rows, project_rows, rows_from_fit
from handkit.detect.detection import box_around
from handkit.errors import HandkitError
from handkit.evaluate.engine import DONE, NO_HAND, camera_of
from handkit.evaluate.finders import picture_of
from handkit.evaluate.looking import Looked, LookingEngine, Place
from handkit.evaluate.rows import OwnRows
from handkit.export.predictions import Predictions
from handkit.fit.meshes import fit_meshes
from handkit.hand.mesh_joints import joints_of_mesh
from handkit.hand.model import HandModel
from handkit.inference.binocular import BinocularPredictor, load_binocular
from handkit.inference.keypoints import SeenKeypoints
from handkit.inference.load import BINOCULAR
from handkit.inference.looks import Look, look_at
from handkit.inference.views import View

logger = logging.getLogger(__name__)

_STEREO_SETS: Final = "stb (its camera BB) and stereo"
# A camera of whose picture less is covered does not see the hand: the share of the area of the hand's box.
_LEAST_SHOWN: Final = 0.5
_MIDDLE: Final = JOINT_NAMES.index("middle1")


@dataclass(frozen=True, eq=False, kw_only=True)
class LookedPair(Looked):
    """With what the other camera of the rig shows of the hand; `is_right_view` says whose the sample is."""

    sighting: Sighting
    look: Look
    other: Look
    K_other: Float[np.ndarray, "3 3"]
    right_from_left: Float[np.ndarray, "3 4"]
    is_right_view: bool


class BinocularEngine(LookingEngine):
    """The network of `handkit selfsup binocular`, or the prior that it starts from, over a stereo data set.

    In both pictures a hand is where the annotations say, else where MediaPipe finds it; networks that learned crops
    about the middle finger's root (STB, `centre` of their checkpoint) see such crops where that joint is annotated. A
    hand that either camera does not see, or whose rays do not meet before the cameras, has no row.
    """

    network = "lixel"
    weights = BINOCULAR
    predictor: BinocularPredictor

    def __init__(
        self, dataset: AnnotatedDataset, truth: HandSet | None, *, checkpoint: Path, hand: str, device: str
    ) -> None:
        if dataset.view_of(0) is None:
            what = f"{type(dataset).__name__} gives single pictures, and binocular sees pairs"
            raise HandkitError(what, f"data sets of pairs are {_STEREO_SETS}")
        super().__init__(dataset, truth, checkpoint=checkpoint, hand=hand, device=device)

    def predict(self, chosen: range, on_read: Callable[[], None]) -> OwnRows:
        rows = super().predict(chosen, on_read)
        lost = ~np.isin(np.array(chosen), rows.hands.frame) & (np.asarray(rows.hands.status) == DONE)
        return replace(rows, hands=replace(rows.hands, status=np.where(lost, NO_HAND, rows.hands.status)))

    def _open(self) -> BinocularPredictor:
        self.predictor = load_binocular(self._checkpoint, self._device)
        trained = self.predictor.hand.name
        if self._hands.model(True).name != trained:
            what = f"{self._checkpoint} makes meshes of the hand {trained}, not of {self._hands.name}"
            raise HandkitError(what, f"give --hand-model {trained}")
        return self.predictor

    def _begins(self, index: int) -> bool:
        return True  # every pair is alone

    def _look(self, index: int) -> Looked:
        self._load()
        pair, is_right_view = self._dataset.pair(index), self._dataset.view_of(index) == "right"
        own, other = (pair["right"], pair["left"]) if is_right_view else (pair["left"], pair["right"])
        place, beside = self._seen(own), self._seen(other)
        if place is None or beside is None:
            if place is not None or beside is not None:
                which = "right" if is_right_view == (beside is None) else "left"
                logger.warning("%s: the %s camera alone sees the hand", own["name"], which)
            return Looked(own["name"], NO_HAND)
        K, camera = camera_of(own)
        size = (own["image"].shape[2], own["image"].shape[1])
        return LookedPair(
            own["name"],
            DONE,
            camera=camera,
            sighting=Sighting(place.hand, own["name"], size, K, frame=index),
            look=self._cut(own, place),
            other=self._cut(other, beside),
            K_other=camera_of(other)[0],
            right_from_left=pair["right_from_left"].astype(np.float64),
            is_right_view=is_right_view,
        )

    def _seen(self, sample: HandSample) -> Place | None:
        """Where the hand is in one picture; None where it is not found or mostly outside."""
        found = self._place(sample, self.predictor.box_scale)
        if found is None or shown_share(found.hand.bbox, sample["image"].shape[1:]) < _LEAST_SHOWN:
            return None
        joints, known = sample["joints_2d"].astype(np.float64), sample["joints_2d_valid"]
        if self.predictor.centre == "box" or not known[_MIDDLE]:
            return found
        return Place(found.hand, self.predictor.square(box_around(joints[known]), joints, known.astype(np.float64)))

    def _cut(self, sample: HandSample, place: Place) -> Look:
        return look_at(picture_of(sample), place.square, self.predictor.size, is_right=place.hand.is_right)

    def _rows(self, looked: Sequence[Looked]) -> list[OwnRows]:
        pairs = [one for one in looked if isinstance(one, LookedPair)]
        meshes, sigma, valid = self._meshes(pairs)
        seen = [one.sighting for one, sure in zip(pairs, valid, strict=True) if sure]
        if not seen:
            return []
        return [OwnRows(rows_of_meshes(seen, meshes[valid], sigma[valid], self._hands, self.predictor.hand))]

    def _meshes(
        self, pairs: Sequence[LookedPair]
    ) -> tuple[Float[np.ndarray, "N 778 3"], Float[np.ndarray, "N 778 3"], Bool[np.ndarray, " N"]]:
        """Vertices in each sample's own camera, how sure of them, m, and whether they could be measured."""
        meshes, sigma = np.zeros((2, len(pairs), 778, 3))
        valid = np.zeros(len(pairs), bool)
        rigs = np.stack([one.right_from_left for one in pairs])
        for rig in np.unique(rigs, axis=0):
            chosen = np.flatnonzero((rigs == rig).all((1, 2)))
            alike = [pairs[i] for i in chosen]
            said = self.predictor.pair(view_of(alike, right=True), view_of(alike, right=False), rig)
            meshes[chosen], sigma[chosen], valid[chosen] = said.vertices, said.sigma, said.valid
            for one, why in zip(alike, said.why, strict=True):
                if why is not None:
                    logger.warning("%s: both views make no hand: %s", one.name, why)
        is_right_view = np.array([one.is_right_view for one in pairs])[:, None, None]
        R, t = rigs[..., :3], rigs[:, None, :, 3]
        # x_left = R^T (x_right - t)
        turned = np.sqrt(sigma**2 @ R**2)
        return np.where(is_right_view, meshes, (meshes - t) @ R), np.where(is_right_view, sigma, turned), valid


def view_of(pairs: Sequence[LookedPair], *, right: bool) -> View:
    """What one camera sees of pairs; keypoints are not told."""
    own = [one.is_right_view == right for one in pairs]
    looks = [one.look if mine else one.other for one, mine in zip(pairs, own, strict=True)]
    K = [one.sighting.K if mine else one.K_other for one, mine in zip(pairs, own, strict=True)]
    none = SeenKeypoints(np.zeros((len(pairs), 21, 2)), np.zeros((len(pairs), 21)))
    return View(looks, none, np.stack(K))


def shown_share(bbox: Float[np.ndarray, "4"], size: tuple[int, ...]) -> float:
    """Of a box's area the share that lies in a picture of `size` (height, width); 0 for an empty box."""
    height, width = size
    inside = np.minimum(bbox[2:], [width, height]) - np.maximum(bbox[:2], 0)
    area = float(np.prod(bbox[2:] - bbox[:2]))
    return float(np.prod(inside.clip(0))) / area if area > 0 else 0.0


def rows_of_meshes(
    sightings: Sequence[Sighting],
    meshes: Float[np.ndarray, "N 778 3"],
    sigma: Float[np.ndarray, "N 778 3"],
    hands: HandPair,
    trained: HandModel,
) -> Predictions:
    """Rows of hands, one at least, known by their meshes in the camera and how sure those are, m.

    `trained` is the right hand whose meshes they are.
    """
    parts, order = [], list[int]()
    for is_right in (True, False):
        side = [i for i, sighting in enumerate(sightings) if sighting.detection.is_right == is_right]
        if side:
            fitted = fit_meshes(
                torch.from_numpy(meshes[side]), hands.name, is_right, sigma=torch.from_numpy(sigma[side])
            )
            rows = rows_from_fit([sightings[i] for i in side], fitted)
            parts.append(replace(rows, vertex_offsets=meshes[side] - fitted.vertices.numpy()))
            order += side
    rows = join_rows(parts).rows(np.argsort(order).astype(np.int64))
    # what regresses joints is linear, so a left hand's is the mirrored right one's
    joints = joints_of_mesh(torch.from_numpy(meshes), trained).numpy()
    return replace(rows, vertices=meshes, joints_3d=joints, joints_2d=project_rows(joints, rows.K))
