"""Files of patches written directly: hands at chosen frames of chosen sequences, with truth that K projects exactly."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from handkit.data.patch_files import PATCH_SCALE, Patch, write_patches

PATCH_PX = 64
K = np.array([[150.0, 0, 30], [0, 150, 34], [0, 0, 1]])


def joints_3d(seed: int) -> np.ndarray:
    """A hand of 12 cm, 60 cm before the camera."""
    spread = np.random.default_rng(seed).uniform(-0.06, 0.06, (21, 3))
    return spread + np.array([0, 0, 0.6])


def patch(
    name: str,
    *,
    sequence: str = "",
    frame: int = 0,
    is_right: bool = True,
    middle: tuple[float, float] = (100, 80),
    hand_px: float = 20.0,
    seed: int = 0,
    with_truth: bool = True,
) -> Patch:
    """A hand of `hand_px` about `middle` of its picture; the JPEG is grey and brighter by frame."""
    joints = joints_3d(seed)
    pixels = (joints @ K.T)[:, :2] / joints[:, 2:]
    image = np.full((PATCH_PX, PATCH_PX, 3), 60 + frame % 100, np.uint8)
    center, half = np.array(middle), PATCH_SCALE * hand_px / 2
    every = np.ones(21, bool)
    truth: dict[str, Any] = {"joints_2d": pixels, "joints_2d_valid": every}
    truth |= {"joints_3d": joints, "joints_3d_valid": every}
    return Patch(
        jpeg=cv2.imencode(".jpg", image)[1].tobytes(),
        name=name,
        sequence=sequence,
        frame=frame,
        time_s=frame / 30,
        is_right=is_right,
        square=np.concatenate([center - half, center + half]),
        K=K,
        keypoints_2d=pixels + 0.5,
        keypoint_scores=np.linspace(0.5, 1, 21),
        truth=truth if with_truth else {},
    )


def sequence_of(name: str, frames: Iterable[int], **known: Any) -> list[Patch]:
    """A still hand at these frames, each frame's joints a little different."""
    return [patch(f"{name}_{f}", sequence=name, frame=f, seed=f, **known) for f in frames]


def write_hands(path: Path, patches: Iterable[Patch], *, source: str = "clips", **card: Mapping[str, Any]) -> Path:
    """A file of these patches."""
    write_patches(path, patches, lambda: {"source": source, **card})
    return path
