"""S2HAND's network over the squares of hands: what it says of each, in the full image's camera.

Convention: metres in camera axes, full-image pixels. A left hand is what the network saw in the mirrored crop, mirrored
back. The network's hand x is at turn (|s| R x) + T; a row of hands.npz has no scale, so it holds the hand of unit scale
at T / |s|, which every camera shows alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit.checkpoint import CheckpointInfo
from handkit.errors import HandkitError
from handkit.export.appearance import Appearance
from handkit.fit import HandParameters
from handkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, mirror_axis_angle
from handkit.hand import HandModel, ManoLayer
from handkit.hand.scaled import NUM_PCA, ScaledHandLayer, canonical_transl, positive_scale, root_turn
from handkit.inference.keypoints import SeenKeypoints, batches, join_keypoints, keypoints_in_image
from handkit.inference.load import S2HAND, pick_device
from handkit.inference.looks import Look
from handkit.inference.placing import crop_cameras
from handkit.inference.trained import TrainedPredictor
from handkit.nets.s2hand import S2HandOutput
from handkit.nets.s2hand_system import S2HandSystem, load_system

_LEAST_SCALE: Final = 1e-3  # what is smaller would be kilometres away at unit scale
_NUMBERS: Final = ("global_orient", "hand_pose", "betas", "transl", "wrist", "is_right")


@dataclass(frozen=True, eq=False, kw_only=True)
class FoundHands:
    """N hands in front of their cameras, float64, as the trained hand's own layers take them.

    `wrist` is where the wrist stands, with any hand model. `appearance` is as in its file; the 2D estimator's
    `keypoints` are None where the checkpoint has none, or they were not asked for.
    """

    global_orient: Float[Tensor, "N 3"]
    hand_pose: Float[Tensor, "N 45"]
    betas: Float[Tensor, "N 10"]
    transl: Float[Tensor, "N 3"]
    wrist: Float[Tensor, "N 3"]
    is_right: Bool[Tensor, " N"]
    appearance: Appearance
    keypoints: Float[np.ndarray, "N 21 2"] | None = None
    keypoint_scores: Float[np.ndarray, "N 21"] | None = None

    def __len__(self) -> int:
        return len(self.transl)

    def rows(self, index: Tensor) -> "FoundHands":
        """The hands that a mask or indices pick."""
        places = index.numpy()
        return FoundHands(
            **{name: getattr(self, name)[index] for name in _NUMBERS},
            appearance=self.appearance.rows(places),
            keypoints=None if self.keypoints is None else self.keypoints[places],
            keypoint_scores=None if self.keypoint_scores is None else self.keypoint_scores[places],
        )


class S2HandPredictor(TrainedPredictor):
    """Runs a checkpoint's parts over looks, each alone."""

    def __init__(self, system: S2HandSystem, info: CheckpointInfo, *, device: str | torch.device = "cpu") -> None:
        if system.hand is None:
            raise ValueError("the system has no hand network")
        super().__init__(info, device)
        self.system = system.to(device).eval()
        self._network, self._estimator = system.hand, system.keypoints
        self._layer = ScaledHandLayer(self.hand, system.hand.camera)

    def step(self, looks: Sequence[Look], K: Float[np.ndarray, "N 3 3"], *, want_keypoints: bool = True) -> FoundHands:
        """A row for every look, of which there is one at least; `K` are the cameras of the looks' full images."""
        said: list[S2HandOutput] = []
        seen: list[SeenKeypoints] = []
        with torch.inference_mode():
            for part, images in batches(looks, self.device):
                said.append(self._network(images))
                if want_keypoints and self._estimator is not None:
                    seen.append(keypoints_in_image(self._estimator(images), part))
        hand = S2HandOutput(*(torch.cat(values).double().cpu() for values in zip(*said, strict=True)))
        assert hand.texture is not None
        assert hand.light is not None
        keypoints = join_keypoints(seen) if seen else None
        return FoundHands(
            **self._place(hand, looks, torch.from_numpy(np.asarray(K, np.float64))),
            appearance=Appearance(hand.texture.numpy(), hand.light.numpy()),
            keypoints=None if keypoints is None else keypoints.points,
            keypoint_scores=None if keypoints is None else keypoints.scores,
        )

    def _place(self, said: S2HandOutput, looks: Sequence[Look], cameras: Float[Tensor, "N 3 3"]) -> dict[str, Tensor]:
        """`_NUMBERS` of what is said of crops: as `ScaledHandLayer` has it, then at unit scale."""
        is_right = torch.tensor([look.is_right for look in looks])
        camera = self._layer.camera
        placed = self._layer.place(
            canonical_transl(said.transl, camera), crop_cameras(looks, cameras, self.size), self.size
        )
        about_origin = placed.turn @ axis_angle_to_matrix(said.orient)
        rest = rest_wrists(self.hand, said.betas)
        scale = positive_scale(said.scale, camera).clamp_min(_LEAST_SCALE)[:, None]
        wrist = (about_origin @ rest[..., None])[..., 0] + placed.transl / scale
        root = axis_angle_to_matrix(torch.tensor(root_turn(camera), dtype=torch.float64))
        components = torch.tensor(self.hand.hands_components[:NUM_PCA])
        pose = (torch.tensor(self.hand.hands_mean) + said.pca @ components).unflatten(-1, (15, 3))
        orient, transl = matrix_to_axis_angle(about_origin @ root), wrist - rest
        side = torch.where(is_right, 1.0, -1.0).double()[:, None]
        mirror = torch.cat([side, torch.ones(len(side), 2, dtype=torch.float64)], -1)
        return {
            "global_orient": torch.where(is_right[:, None], orient, mirror_axis_angle(orient)),
            "hand_pose": torch.where(is_right[:, None, None], pose, mirror_axis_angle(pose)).flatten(-2),
            "betas": said.betas,
            "transl": mirror * transl,
            "wrist": mirror * wrist,
            "is_right": is_right,
        }


def load_s2hand(path: Path, device: str = "cpu") -> S2HandPredictor:
    """The network of a checkpoint; `device` as in `load_predictor`. HandkitError for a file that holds none."""
    system, info = load_system(path)
    if system.hand is None:
        raise HandkitError(f"{path} holds a 2D keypoint estimator and no 3D network", S2HAND.how)
    return S2HandPredictor(system, info, device=pick_device(device))


def hands_in_front(found: FoundHands, hand: HandModel) -> HandParameters:
    """Hands of one side with any model's shape and joints, their wrists in place."""
    is_side = found.is_right if hand.side == "right" else ~found.is_right
    if not bool(is_side.all()):
        raise HandkitError(f"hands of both sides for a {hand.side} hand", "place each side with its own model")
    with torch.no_grad():
        given = {
            "global_orient": found.global_orient.float(),
            "hand_pose": found.hand_pose.float(),
            "betas": found.betas.float(),
            "transl": (found.wrist - rest_wrists(hand, found.betas)).float(),
        }
        out = ManoLayer(hand)(**given)
    return HandParameters(**given, joints=out.joints, vertices=out.vertices)


def rest_wrists(hand: HandModel, betas: Float[Tensor, "N 10"]) -> Float[Tensor, "N 3"]:
    """Where the wrists of shapes are at rest, about the model's origin."""
    rest: Tensor = ManoLayer(hand)(betas=betas).joints[:, 0]
    return rest
