"""Open hands before a camera, to write data sets' files from."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from handkit.conventions import OURS_FROM_MANO_AND_TIPS
from handkit.hand import ManoLayer, load_hand
from handkit.render.hard import rasterize

HANDS = {side: load_hand("open", side=side) for side in ("right", "left")}


def posed(seed: int, *, side: str = "right", depth: float = 0.6) -> dict[str, np.ndarray]:
    """Parameters, vertices and joints (both skinned and regressed from the mesh) of a random hand, camera frame, m."""
    rng = np.random.default_rng(seed)
    hand = HANDS[side]
    given = {
        "global_orient": rng.normal(0, 0.6, 3),
        "hand_pose": rng.normal(0, 0.2, 45),
        "betas": rng.normal(0, 0.5, 10),
        "transl": np.array([*rng.uniform(-0.02, 0.02, 2), depth]),
    }
    vertices, joints = (
        tensor.numpy() for tensor in ManoLayer(hand)(**{key: torch.from_numpy(value) for key, value in given.items()})
    )
    regressed = np.vstack([hand.J_regressor @ vertices, vertices[list(hand.tip_vertices)]])
    return {**given, "vertices": vertices, "joints": joints, "regressed": regressed[list(OURS_FROM_MANO_AND_TIPS)]}


def silhouette(vertices: np.ndarray, K: np.ndarray, size: tuple[int, int], side: str = "right") -> np.ndarray:
    """Boolean [H, W]: where the mesh is seen."""
    seen = np.column_stack([seen_at(vertices, K), vertices[:, 2]])
    return rasterize(seen, HANDS[side].faces, size=size).face_ids >= 0


def seen_at(points: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Pixels, one point at a time."""
    rows = [K @ point for point in points.reshape(-1, 3)]
    return np.array([(x / z, y / z) for x, y, z in rows]).reshape(*points.shape[:-1], 2)


def write_image(path: Path, image: np.ndarray) -> None:
    """RGB [H, W, 3] or grey [H, W], by the ending of the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image if image.ndim == 2 else image[..., ::-1])


def plain(size: tuple[int, int], colour: tuple[int, int, int] = (200, 100, 10)) -> np.ndarray:
    return np.full((*size, 3), colour, np.uint8)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, default=lambda array: array.tolist()))
