"""Folders as `handkit demo` and `handkit evaluate` leave them, with drawn hands."""

from pathlib import Path

import numpy as np

from handkit.evaluate.rows import OwnRows, save_own
from handkit.export.appearance import Appearance
from handkit.export.predictions import Predictions
from handkit.inference.keypoints import SeenKeypoints

SIZE = (640, 480)


def drawn_rows(
    places: list[tuple[str, int, int]],
    *,
    seed: int = 0,
    sides: list[bool] | None = None,
    texture: bool = True,
    estimated: bool = True,
    method: str = "MediaPipe Hands + s2hand (net.safetensors, step 7)",
) -> OwnRows:
    """A hand for each (image, track, frame); detected, estimated and projected keypoints are a few pixels apart."""
    rng = np.random.default_rng(seed)
    count = len(places)
    images, tracks, frames = (list(column) for column in zip(*places, strict=True))
    seen = rng.uniform(100, 200, (count, 1, 2)) + rng.uniform(0, 90, (count, 21, 2))
    hands = Predictions(
        frame=np.array(frames),
        time_s=np.array(frames) / 30,
        track_id=np.array(tracks),
        is_right=np.ones(count, bool) if sides is None else np.array(sides),
        score=np.ones(count),
        betas=rng.normal(0, 0.3, (count, 10)),
        global_orient=rng.normal(0, 0.5, (count, 3)),
        hand_pose=rng.normal(0, 0.3, (count, 45)),
        transl=rng.normal((0, 0, 0.6), 0.1, (count, 3)),
        joints_3d=rng.normal((0, 0, 0.6), 0.05, (count, 21, 3)),
        joints_2d=seen + rng.normal(0, 4, (count, 21, 2)),
        keypoints_2d=seen,
        keypoint_scores=np.ones((count, 21)),
        bbox=np.concatenate([seen.min(1), seen.max(1)], -1),
        K=np.repeat(np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])[None], count, 0),
        image_size=np.repeat([SIZE], count, 0),
        image=np.array(images),
        inputs=sorted(set(images)),
        status=["done"] * len(set(images)),
        hand_model="open",
        method=method,
        camera_source="default field of view",
    )
    looks = Appearance(rng.uniform(0.2, 0.8, (count, 1538, 3)), rng.normal(0.5, 0.3, (count, 11)))
    near = SeenKeypoints((seen + rng.normal(0, 2, (count, 21, 2))).astype(np.float32), np.ones((count, 21), np.float32))
    return OwnRows(hands, looks if texture else None, near if estimated else None)


def write_rows(folder: Path, rows: OwnRows) -> Path:
    save_own(folder, rows)
    return folder
