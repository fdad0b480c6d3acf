"""Samples of both kinds of cameras and sides, with a mark at a joint, as sources of batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import cv2
import numpy as np
import torch

from handkit.data.sample import HandSample, build_sample, collate, stack_samples
from handkit.geometry.rotations import axis_angle_to_matrix
from handkit.hand import ManoLayer
from handkit.train import Place
from tests.data.posing import HANDS, posed, seen_at

# So wide that varied crops lie inside.
HEIGHT, WIDTH = 700, 760
K = np.array([[520.0, 0, 370], [0, 520, 360], [0, 0, 1]])
MARKED = 8
RADIUS = 7


def marked(joints_2d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A dark picture [3, H, W] and a mask [H, W] with a disc about the marked joint."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    disc = np.hypot(columns - joints_2d[MARKED, 0], rows - joints_2d[MARKED, 1]) < RADIUS
    return np.repeat(255 * disc[None].astype(np.uint8), 3, 0), disc.astype(np.uint8)


def pinhole(seed: int, side: str = "right", **known: Any) -> HandSample:
    hand = posed(seed, side=side)
    joints_2d = seen_at(hand["joints"], K)
    image, mask = marked(joints_2d)
    parameters = {key: hand[key] for key in ("global_orient", "hand_pose", "betas", "transl", "vertices")}
    given: dict[str, Any] = {"mask": mask, "hand_model": "open", "K": K, "joints_2d": joints_2d, **parameters}
    given |= {"joints_3d": hand["joints"], **known}
    return build_sample(image, is_right=side == "right", dataset="pinhole", name=str(seed), **given)


def weak(seed: int, side: str = "right", **known: Any) -> HandSample:
    """As generated sequences are: turned about the model's origin, which is all that 3D counts from."""
    rng = np.random.default_rng(seed)
    orient, pose, betas = rng.normal(0, 1, 3), rng.normal(0, 0.2, 45), rng.normal(0, 1, 10)
    posed = ManoLayer(HANDS[side])(hand_pose=torch.from_numpy(pose), betas=torch.from_numpy(betas))
    R = axis_angle_to_matrix(torch.from_numpy(orient)).numpy()
    joints, vertices = (points.numpy() @ R.T for points in (posed.joints, posed.vertices))
    scale = rng.uniform(400, 600)
    shift = np.array([WIDTH, HEIGHT]) / 2 - scale * joints[:, :2].mean(0)
    joints_2d = scale * joints[:, :2] + shift
    image, mask = marked(joints_2d)
    given: dict[str, Any] = {"mask": mask, "hand_model": "open", "joints_3d": joints, "vertices": vertices}
    given |= {"global_orient": orient, "hand_pose": pose, "betas": betas, "joints_2d": joints_2d}
    given |= {"weak_scale": scale, "weak_transl": shift, **known}
    return build_sample(image, is_right=side == "right", dataset="weak", name=str(seed), **given)


@dataclass
class Samples:
    """Sequences of `frames` samples, `batch` in each batch, again and again."""

    samples: Sequence[HandSample]
    batch: int
    frames: int = 1

    def batches(self, start: int, place: Place) -> Iterator[dict[str, Any]]:
        for number in count(start):
            numbers = range(number * self.batch, (number + 1) * self.batch)[place.share(self.batch)]
            yield collate([self._sequence(at % (len(self.samples) // self.frames)) for at in numbers])

    def _sequence(self, number: int) -> dict[str, Any]:
        frames = self.samples[number * self.frames : (number + 1) * self.frames]
        return {**stack_samples(frames), "key": f"sequence/{number}"}


def centre_of(picture: np.ndarray) -> np.ndarray:
    """Where a bright spot of [S, S] is, pixels."""
    moments = cv2.moments(picture.astype(np.float32))
    return np.array([moments["m10"], moments["m01"]]) / moments["m00"] + 0.5
