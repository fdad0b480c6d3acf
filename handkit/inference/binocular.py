"""Lixel networks over both views of a hand: where the rays of its vertices meet.

Convention: `right_from_left` is [R|t], x_right = R x_left + t in metres, between the cameras of the views' full images.
Each crop is seen alone, those of left hands mirrored, and what is said of it is mirrored back: vertices come out in
full-image pixels, and in metres before the right camera, left hands as left ones.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit.checkpoint import CheckpointInfo
from handkit.conventions import JOINT_NAMES
from handkit.data.handnet_crops import CENTRES
from handkit.errors import HandkitError
from handkit.geometry.disparity import BinocularPoints, Rectified, depth_per_pixel, rectify, triangulate
from handkit.inference.keypoints import images_of
from handkit.inference.load import BINOCULAR, HAND_PRIOR, pick_device
from handkit.inference.looks import Look, square_about_point, square_around_joints
from handkit.inference.trained import TrainedPredictor
from handkit.inference.views import View
from handkit.nets.lixel import LixelNetwork, without_depth
from handkit.nets.lixel_system import load_lixel

logger = logging.getLogger(__name__)

PRIOR_METHOD: Final = "hand-prior"
METHOD: Final = "binocular"
# Why both views of a hand make no mesh.
NO_DISPARITY: Final = "no disparity"
APART: Final = "views apart"
ON_BASELINE: Final = "on the baseline"

_MIDDLE: Final = JOINT_NAMES.index("middle1")
# Few at once: on CPUs large batches of pictures are slower.
_AT_ONCE: Final = 16
_FAR_M: Final = 5.0
# A ray within 6 degrees of the line through both cameras, where a pixel is worth a hand's depth.
_LEAST_SINE: Final = 0.1
# What vertices in a crop count as off by: of the gap, which is 1.05 in normal noise, but neighbours err alike (2.5 is
# best where they do by joints); and at least and at most, in the crop's widths.
_OF_GAP: Final = 2.5
_NOISE: Final = (0.001, 0.05)


@dataclass(frozen=True, eq=False)
class BinocularHands:
    """N hands of both views, float64.

    vertices: m, in the right camera. gap_px: how many pixels of the right picture the rays of a vertex pass each other
    by, the median. sigma: m, how sure of the vertices along the camera's axes, by the gap: much less so along their
    rays. px_m: metres of depth that a pixel of disparity is worth. why: None of hands whose mesh is good for something,
    else `NO_DISPARITY` (negative, or that of more than 5 m), `APART` (by more than half a crop) or `ON_BASELINE` (seen
    along the line through both cameras).
    """

    vertices: Float[Tensor, "N 778 3"]
    sigma: Float[Tensor, "N 778 3"]
    gap_px: Float[Tensor, " N"]
    px_m: Float[Tensor, " N"]
    is_right: Bool[Tensor, " N"]
    why: list[str | None]

    def __len__(self) -> int:
        return len(self.why)

    @property
    def valid(self) -> Bool[Tensor, " N"]:
        """Whether a mesh is good for something."""
        return torch.tensor([why is None for why in self.why], dtype=torch.bool)

    def rows(self, index: Tensor) -> "BinocularHands":
        """The hands that indices pick."""
        names = ("vertices", "sigma", "gap_px", "px_m", "is_right")
        picked = {name: getattr(self, name)[index] for name in names}
        return replace(self, **picked, why=[self.why[i] for i in index.tolist()])


class BinocularPredictor(TrainedPredictor):
    """Runs a network over both views; `is_before` says that it is the prior alone, before it learned from pairs.

    Looks are to be cut where `square` says.
    """

    def __init__(self, network: LixelNetwork, info: CheckpointInfo, *, device: str | torch.device = "cpu") -> None:
        super().__init__(info, device)
        self.network: torch.nn.Module = without_depth(network).to(device).eval()
        self.centre = str(info.data.get("centre", "box"))
        if self.centre not in CENTRES:
            what = f"the checkpoint's crops are centred on {self.centre!r}"
            raise HandkitError(what, f"known are {', '.join(CENTRES)}: give one of this version of handkit")
        self.is_before = info.method == PRIOR_METHOD
        self.sees = "both views" + (", before self-supervision" if self.is_before else "")

    def square(
        self, bbox: Float[np.ndarray, "4"], keypoints: Float[np.ndarray, "21 2"], scores: Float[np.ndarray, "21"]
    ) -> Float[np.ndarray, "4"]:
        """The square of a hand in a picture, from the box of its joints, or about the middle finger's root.

        Where that was not seen, about the box's centre. Raises HandkitError for an empty box.
        """
        middle = keypoints[_MIDDLE]
        if self.centre == "box" or not (scores[_MIDDLE] > 0 and np.isfinite(middle).all()):
            return square_around_joints(bbox, self.box_scale)
        return square_about_point(middle, bbox, self.box_scale)

    def points(self, looks: Sequence[Look]) -> Float[Tensor, "N 778 2"]:
        """Where a picture shows the vertices of its looks, of which there is one at least, full-image pixels."""
        said = []
        for begin in range(0, len(looks), _AT_ONCE):
            with torch.inference_mode():
                said.append(self.network(images_of(looks[begin : begin + _AT_ONCE], self.device)).points)
        points = torch.cat(said).double().cpu()
        is_right = torch.tensor([look.is_right for look in looks])[:, None]
        squares = torch.from_numpy(np.stack([look.square for look in looks]))[:, None]
        x = torch.where(is_right, points[..., 0], 1 - points[..., 0])
        return squares[..., :2] + (squares[..., 2:] - squares[..., :2]) * torch.stack([x, points[..., 1]], -1)

    def pair(self, right: View, left: View, right_from_left: Float[np.ndarray, "3 4"]) -> BinocularHands:
        """The same hands, one at least, in both views of a rig.

        Raises HandkitError for cameras that stand in one place or behind each other, and where the views disagree about
        the sides.
        """
        is_right = torch.tensor([look.is_right for look in right.looks])
        if is_right.tolist() != [look.is_right for look in left.looks]:
            raise HandkitError("a hand is a right one in one view and a left one in the other", "give its side")
        uv = self.points([*right.looks, *left.looks]).chunk(2)
        K = [torch.from_numpy(np.asarray(view.K, np.float64)) for view in (right, left)]
        between = torch.from_numpy(np.asarray(right_from_left, np.float64)).expand(len(is_right), 3, 4)
        found = triangulate(uv[1], uv[0], K[1], K[0], between, far_m=_FAR_M)
        seen = _Seen(K[0], uv[0], torch.tensor([look.square[2] - look.square[0] for look in right.looks]).double())
        return _judged(found, seen, rectify(between), is_right)


def load_binocular(path: Path, device: str = "cpu") -> BinocularPredictor:
    """The network of a checkpoint of pairs, or of the hand prior, which is logged; `device` as in `load_predictor`.

    Raises HandkitError for a file of another kind.
    """
    network, info = load_lixel(path)
    if info.method not in (METHOD, PRIOR_METHOD):
        what = f"{path} is a lixel network of {info.method!r}, neither self-supervised nor the hand prior"
        raise HandkitError(what, f"{BINOCULAR.how}; the prior alone is of `handkit {HAND_PRIOR.train}`")
    predictor = BinocularPredictor(network, info, device=pick_device(device))
    if predictor.is_before:
        said = "%s is the hand prior, before self-supervision: teach it the rig with `handkit %s --out DIR`"
        logger.warning(said, path, BINOCULAR.train)
    return predictor


class _Seen(NamedTuple):
    """Vertices in the right view, pixels, and the sides of its crops."""

    K: Float[Tensor, "N 3 3"]
    uv: Float[Tensor, "N 778 2"]
    side_px: Float[Tensor, " N"]

    @property
    def focal_px(self) -> Float[Tensor, " N"]:
        return (self.K[:, 0, 0] + self.K[:, 1, 1]) / 2

    @property
    def rays(self) -> Float[Tensor, "N 778 3"]:
        homogeneous = torch.nn.functional.pad(self.uv, (0, 1), value=1.0)
        return torch.nn.functional.normalize(homogeneous @ torch.linalg.inv(self.K).mT, dim=-1)


def _judged(found: BinocularPoints, seen: _Seen, axes: Rectified, is_right: Bool[Tensor, " N"]) -> BinocularHands:
    """How sure triangulated hands are, and which are none."""
    depth = (found.right @ axes.right.mT)[..., 2]
    focal_px, baseline_m = (each[:, None].expand_as(depth) for each in (seen.focal_px, axes.baseline_m))
    px_m = depth_per_pixel(depth, focal_px, baseline_m)
    gap_px = seen.focal_px * _median(found.gap.abs())
    # How far the rays are from the line through both cameras, which is the rectified x.
    sine = torch.linalg.cross(seen.rays, axes.right[:, None, 0].expand_as(seen.rays)).norm(dim=-1)
    far = _median(found.disparity) <= axes.baseline_m / _FAR_M
    why = [
        ON_BASELINE if is_along else NO_DISPARITY if is_far else APART if is_apart else None
        for is_along, is_far, is_apart in zip(
            (_median(sine) < _LEAST_SINE).tolist(), far.tolist(), (gap_px > seen.side_px / 2).tolist(), strict=True
        )
    ]
    off_px = (_OF_GAP * gap_px).clamp(*(share * seen.side_px for share in _NOISE))[:, None]
    sigma = _sigma(off_px * depth / focal_px, 2**0.5 * off_px * px_m, found.right / depth[..., None])
    return BinocularHands(found.right, sigma, gap_px, _median(px_m), is_right, why)


def _sigma(
    across: Float[Tensor, "N 778"], depth: Float[Tensor, "N 778"], rays: Float[Tensor, "N 778 3"]
) -> Float[Tensor, "N 778 3"]:
    """Along the camera's axes, of what points are off by across their rays, of unit depth, and in depth."""
    extra = (depth.square() - across.square()).clamp_min(0)
    return (across.square()[..., None] + extra[..., None] * rays.square()).sqrt()


def _median(values: Float[Tensor, "N 778"]) -> Float[Tensor, " N"]:
    return values.median(-1).values
