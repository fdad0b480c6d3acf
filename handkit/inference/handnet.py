"""HandNet over the squares of hands, by their pixels, their 2D keypoints or both.

Convention: keypoints are full-image pixels with scores in [0, 1], 0 where a joint was not seen; the network is told of
them in widths of the crop, which is mirrored for left hands. What it says comes back in the full image: hands about
their wrists (`handkit.inference.placing`), left ones mirrored back.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from handkit.checkpoint import CheckpointInfo
from handkit.errors import HandkitError
from handkit.hand.stereo import CameraFusion, ViewOfHand, fuse_hands
from handkit.hand.weak import decode_pose
from handkit.inference.keypoints import SeenKeypoints, images_of
from handkit.inference.load import HANDNET, HANDNET_STEREO, pick_device
from handkit.inference.looks import Look
from handkit.inference.placing import HandsInImage, crop_cameras, hands_from_crops
from handkit.inference.trained import TrainedPredictor
from handkit.inference.views import Said, View, by_camera, first_from_second, with_left_hands_of
from handkit.nets.handnet import HandNet, HandNetOutput
from handkit.nets.handnet_system import load_handnet
from handkit.nets.heatmaps import keypoint_heatmaps

# Few at once: on CPUs large batches of pictures are slower.
_AT_ONCE: Final = 16
_SEES: Final = {"both": "image and keypoints", "image": "image", "keypoints": "keypoints"}


class PairedHands(NamedTuple):
    """What two views say of the same hands: together, as either view's full image shows it, and each view alone.

    `shares` are the right view's in each of the 48 numbers of a fused pose (Eq. 6).
    """

    right: HandsInImage
    left: HandsInImage
    right_alone: HandsInImage
    left_alone: HandsInImage
    shares: Float[np.ndarray, "N 48"]


class HandNetPredictor(TrainedPredictor):
    """Runs a checkpoint's network over looks, each alone.

    `inputs`, "both", "image" or "keypoints", is what the checkpoint learned to see, of what its network can. Where it
    is "both", keypoints that nobody saw are left empty, and the fusion makes do with the image.
    """

    def __init__(self, network: HandNet, info: CheckpointInfo, *, device: str | torch.device = "cpu") -> None:
        super().__init__(info, device)
        self.network = network.to(device).eval()
        self.inputs = str(info.data.get("inputs", network.inputs))
        self.sees = _SEES[self.inputs]

    def step(
        self,
        looks: Sequence[Look],
        keypoints: Float[np.ndarray, "N 21 2"] | None = None,
        scores: Float[np.ndarray, "N 21"] | None = None,
    ) -> HandsInImage:
        """A row for every look, of which there is one at least; without keypoints none were seen.

        Keypoints may lie outside their square. Raises HandkitError for a hand without any inside it, where the
        checkpoint knows of nothing else.
        """
        return self._placed(_joined(list(self._run(looks, _seen(looks, keypoints, scores)))), looks)

    def masks(
        self,
        looks: Sequence[Look],
        keypoints: Float[np.ndarray, "N 21 2"] | None = None,
        scores: Float[np.ndarray, "N 21"] | None = None,
    ) -> Float[np.ndarray, "N S S"]:
        """How likely each pixel of the looks' squares is of the hand, as the full image shows them.

        Raises HandkitError for a checkpoint that sees no images.
        """
        if not self.can_segment:
            raise HandkitError(f"the checkpoint sees the {self.sees} alone and segments nothing", HANDNET.how)
        logits = _column(list(self._run(looks, _seen(looks, keypoints, scores), want_mask=True)), "mask")
        mirrored = torch.tensor([not look.is_right for look in looks])
        shown: np.ndarray = torch.where(mirrored[:, None, None], logits.flip(-1), logits).sigmoid().float().numpy()
        return shown

    def pair(
        self,
        right: View,
        left: View,
        right_from_left: Float[np.ndarray, "3 4"],
        *,
        camera: CameraFusion = "average",
        adapted: bool = False,
    ) -> PairedHands:
        """The same hands, one at least, in both views of a rig, fused by Eq. 6 and 7; `camera` as in `fuse_hands`.

        With `adapted` images are seen by the head that is adapted to generated ones. Raises HandkitError for a
        checkpoint of one view, and where the views disagree about the sides.
        """
        if not self.network.stereo_views:
            raise HandkitError("the checkpoint has no weights of two views", HANDNET_STEREO.how)
        is_right = [look.is_right for look in right.looks]
        if is_right != [look.is_right for look in left.looks]:
            raise HandkitError("a hand is a right one in one view and a left one in the other", "give its side")
        first, second = with_left_hands_of(right, left), with_left_hands_of(left, right)
        said, weights = self._run_pairs(first, second, adapted=adapted)
        views = [_view(own, view) for own, view in zip(said, (first, second), strict=True)]
        between = first_from_second(right_from_left, is_right)
        fused = fuse_hands(views[0], views[1], weights, between, camera=camera)
        together = by_camera(_said(fused.right), _said(fused.left), is_right)
        alone = by_camera(*said, is_right)
        chosen = torch.tensor(is_right)[:, None]
        return PairedHands(
            right=self._placed(together[0], right.looks),
            left=self._placed(together[1], left.looks),
            right_alone=self._placed(alone[0], right.looks),
            left_alone=self._placed(alone[1], left.looks),
            shares=torch.where(chosen, weights, 1 - weights).numpy(),
        )

    @property
    def can_segment(self) -> bool:
        """Whether there are masks at all."""
        return self.inputs != "keypoints"

    def _run(self, looks: Sequence[Look], seen: SeenKeypoints, *, want_mask: bool = False) -> Iterator[HandNetOutput]:
        points, scores = self._keypoints(looks, seen)
        for begin in range(0, len(looks), _AT_ONCE):
            part = slice(begin, begin + _AT_ONCE)
            with torch.inference_mode():
                yield self.network(*self._shown(looks[part], points[part], scores[part]), want_mask=want_mask)

    def _run_pairs(self, first: View, second: View, *, adapted: bool) -> tuple[tuple[Said, Said], Tensor]:
        """What the network says of both views, and the first one's weights."""
        sides = [self._keypoints(view.looks, view.keypoints) for view in (first, second)]
        said: list[HandNetOutput] = []
        for begin in range(0, len(first.looks), _AT_ONCE // 2):
            part = slice(begin, begin + _AT_ONCE // 2)
            points, scores = (torch.cat([side[i][part] for side in sides]) for i in (0, 1))
            with torch.inference_mode():
                shown = self._shown([*first.looks[part], *second.looks[part]], points, scores)
                said.append(self.network(*shown, want_mask=False, adapted=adapted, pairs=True))
        return (_joined(said, half=0), _joined(said, half=1)), _column(said, "weights")

    def _keypoints(
        self, looks: Sequence[Look], seen: SeenKeypoints
    ) -> tuple[Float[Tensor, "N 21 2"], Float[Tensor, "N 21"]]:
        """Keypoints in widths of the crops, and their scores."""
        points = keypoints_in_crops(looks, seen.points)
        scores = np.nan_to_num(np.asarray(seen.scores, np.float64)).clip(0, 1)
        if self.inputs == "keypoints":
            inside = ((points >= 0) & (points <= 1)).all(-1) & (scores > 0)
            for row in np.flatnonzero(~inside.any(-1)).tolist():
                what = f"hand {row} has no keypoint in its square, and the checkpoint sees nothing else"
                raise HandkitError(what, "give keypoints in pixels of its picture, or weights that see the image")
        return torch.from_numpy(points).float().to(self.device), torch.from_numpy(scores).float().to(self.device)

    def _shown(
        self, looks: Sequence[Look], points: Float[Tensor, "N 21 2"], scores: Float[Tensor, "N 21"]
    ) -> tuple[Float[Tensor, "N 3 S S"] | None, Float[Tensor, "N 21 S S"] | None]:
        """Images and heat maps, None for what the checkpoint does not see."""
        images = None if self.inputs == "keypoints" else images_of(looks, self.device)
        if self.inputs == "image":
            return images, None
        return images, keypoint_heatmaps(points, scores, size=self.size, sigma=self.network.sigma)

    def _placed(self, said: Said, looks: Sequence[Look]) -> HandsInImage:
        orient, hand_pose = decode_pose(said.pose, self.hand)
        seen = HandsInImage(
            hand_pose=hand_pose,
            betas=said.betas,
            orient=orient,
            scale=said.camera[:, 0],
            shift=said.camera[:, 1:],
            is_right=torch.tensor([look.is_right for look in looks]),
            pivot="wrist",
        )
        return hands_from_crops(seen, np.stack([look.square for look in looks]))


def load_handnet_predictor(path: Path, device: str = "cpu") -> HandNetPredictor:
    """The network of a checkpoint; `device` as in `load_predictor`. HandkitError for a file of another kind."""
    network, info = load_handnet(path)
    return HandNetPredictor(network, info, device=pick_device(device))


def keypoints_in_crops(looks: Sequence[Look], keypoints: Float[np.ndarray, "N 21 2"]) -> Float[np.ndarray, "N 21 2"]:
    """Full-image pixels in widths of the looks' crops, mirrored for left hands."""
    squares = np.stack([look.square for look in looks])
    points = (np.asarray(keypoints, np.float64) - squares[:, None, :2]) / (squares[:, 2:] - squares[:, :2])[:, None]
    is_right = np.array([look.is_right for look in looks])[:, None]
    return np.stack([np.where(is_right, points[..., 0], 1 - points[..., 0]), points[..., 1]], -1)


def _seen(
    looks: Sequence[Look], keypoints: Float[np.ndarray, "N 21 2"] | None, scores: Float[np.ndarray, "N 21"] | None
) -> SeenKeypoints:
    if keypoints is None:
        return SeenKeypoints(np.zeros((len(looks), 21, 2)), np.zeros((len(looks), 21)))
    return SeenKeypoints(keypoints, np.ones(keypoints.shape[:2]) if scores is None else scores)


def _joined(outputs: Sequence[HandNetOutput], half: int | None = None) -> Said:
    """The hands of several batches, or those of one view of batches of two."""
    pose, betas, camera = (_column(outputs, name, half) for name in ("pose", "betas", "camera"))
    return Said(pose, betas, camera)


def _column(outputs: Sequence[HandNetOutput], name: str, half: int | None = None) -> Tensor:
    """One number of all hands, float64 on the CPU."""
    values: list[Tensor] = [getattr(output, name) for output in outputs]
    rows = values if half is None else [part.chunk(2)[half] for part in values]
    return torch.cat(rows).double().cpu()


def _view(said: Said, view: View) -> ViewOfHand:
    K = crop_cameras(view.looks, torch.from_numpy(np.asarray(view.K, np.float64)), 1)
    return ViewOfHand(said.pose, said.betas, said.camera, K)


def _said(view: ViewOfHand) -> Said:
    return Said(view.pose, view.betas, view.camera)
