"""The trained 2D keypoint estimator over the squares of hands."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from handkit.checkpoint import CheckpointInfo
from handkit.errors import HandkitError
from handkit.fit.landmarks import LANDMARKS
from handkit.inference.load import KEYPOINTS, pick_device
from handkit.inference.looks import Look
from handkit.inference.trained import box_scale, crop_size
from handkit.nets.hourglass import HourglassNetwork, KeypointOutput
from handkit.nets.s2hand_system import load_system

# Few at once: on CPUs large batches of pictures are slower.
_PICTURES: Final = 16


class SeenKeypoints(NamedTuple):
    """Keypoints in full-image pixels, and how sure of each, in [0, 1]."""

    points: Float[np.ndarray, "N 21 2"]
    scores: Float[np.ndarray, "N 21"]


class KeypointPredictor:
    """Runs an estimator over looks; `landmarks` names the kind of keypoints that it learned from."""

    def __init__(self, network: HourglassNetwork, info: CheckpointInfo, *, device: str | torch.device = "cpu") -> None:
        self.network = network.to(device).eval()
        self.info, self.size, self.box_scale = info, crop_size(info), box_scale(info)
        self.landmarks = str(info.data.get("landmarks", "mediapipe"))
        if self.landmarks not in LANDMARKS:
            raise HandkitError(
                f"the estimator learned landmarks of a kind {self.landmarks!r}", f"known are {', '.join(LANDMARKS)}"
            )
        self._device = torch.device(device)

    def step(self, looks: Sequence[Look]) -> SeenKeypoints:
        """A row for every look, each alone."""
        with torch.inference_mode():
            parts = [keypoints_in_image(self.network(batch), part) for part, batch in batches(looks, self._device)]
        return join_keypoints(parts)


def load_keypoints(path: Path, *, device: str = "cpu") -> KeypointPredictor:
    """The estimator of a checkpoint; `device` as in `load_predictor`. HandkitError for a file that holds none."""
    system, info = load_system(path)
    if system.keypoints is None:
        raise HandkitError(f"{path} holds no 2D keypoint estimator", KEYPOINTS.how)
    return KeypointPredictor(system.keypoints, info, device=pick_device(device))


def batches(looks: Sequence[Look], device: torch.device) -> Iterator[tuple[Sequence[Look], Float[Tensor, "N 3 S S"]]]:
    """Some looks at a time, with their crops as images in [0, 1] on a device."""
    for begin in range(0, len(looks), _PICTURES):
        part = looks[begin : begin + _PICTURES]
        yield part, images_of(part, device)


def images_of(looks: Sequence[Look], device: torch.device) -> Float[Tensor, "N 3 S S"]:
    """The crops of at least one look as images in [0, 1] on a device."""
    crops = torch.from_numpy(np.stack([look.crop for look in looks]))
    return crops.to(device).permute(0, 3, 1, 2).float() / 255


def keypoints_in_image(found: KeypointOutput, looks: Sequence[Look]) -> SeenKeypoints:
    """The last stack's answer for each look, mirrored back for left hands."""
    points = found.points[:, -1].double().cpu().numpy()
    squares = np.array([look.square for look in looks], np.float64).reshape(-1, 4)
    is_right = np.array([look.is_right for look in looks], bool)[:, None]
    x = np.where(is_right, points[..., 0], 1 - points[..., 0])
    side = (squares[:, 2:] - squares[:, :2])[:, None]
    return SeenKeypoints(squares[:, None, :2] + side * np.stack([x, points[..., 1]], -1), found.scores.cpu().numpy())


def join_keypoints(parts: Sequence[SeenKeypoints]) -> SeenKeypoints:
    """All rows, in order; no parts give no rows."""
    empty = SeenKeypoints(np.zeros((0, 21, 2)), np.zeros((0, 21), np.float32))
    points, scores = zip(*(parts or [empty]), strict=True)
    return SeenKeypoints(np.concatenate(points), np.concatenate(scores))
