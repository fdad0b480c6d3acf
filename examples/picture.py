"""The README's picture: rendered hands, what handkit finds in them, and the same from the side.

python examples/picture.py docs/picture.png
"""

import sys

import cv2
import numpy as np
import torch

from handkit.detect import MediaPipeDetector
from handkit.fit import fit_images
from handkit.geometry import default_K
from handkit.hand import ManoLayer, load_hand
from handkit.hand.limits import angles_to_pose, joint_frames, sample_angles
from handkit.images import write_image
from handkit.render.lit import render_lit
from handkit.render.overlay import Mesh, beside, draw_meshes, draw_skeleton, side_view, track_color

WIDTH, HEIGHT = 560, 420
SEEDS = (3, 11)  # of the poses of the right and the left hand
K = default_K(WIDTH, HEIGHT, 50.0).numpy()
FACING = {"right": [[0.0, 0, 1], [1, 0, 0], [0, 1, 0]], "left": [[0.0, 0, -1], [-1, 0, 0], [0, 1, 0]]}


def wall() -> np.ndarray:
    """A plain, slightly uneven wall."""
    noise = cv2.resize(np.random.default_rng(0).normal(0, 9, (12, 16)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    fall = np.linspace(25, -35, WIDTH)
    return np.clip(np.array([150, 160, 165]) + (noise + fall)[..., None], 0, 255).astype(np.uint8)


def add_hand(image: np.ndarray, side: str, seed: int, x: float) -> np.ndarray:
    """The picture with an open hand in a natural pose, palm to the camera, fingers up."""
    hand = load_hand("open", side)
    angles = torch.from_numpy(sample_angles(1, np.random.default_rng(seed)))
    vertices = ManoLayer(hand)(hand_pose=angles_to_pose(angles, joint_frames(hand))).vertices[0].numpy()
    vertices = (vertices - vertices.mean(0)) @ np.array(FACING[side]).T + [x, 0.01, 0.4]
    return render_lit(image, vertices, hand.faces, K, colors=hand.vertex_colors, sheen=0.15)


image = wall()
for side, seed, x in (("right", SEEDS[0], 0.09), ("left", SEEDS[1], -0.09)):
    image = add_hand(image, side, seed, x)

with MediaPipeDetector(augment=5) as detector:
    found = sorted(detector.detect(image), key=lambda hand: hand.is_right)

drawn, meshes = image.copy(), []
for hand in found:
    fitted = fit_images(
        keypoints_2d=hand.keypoints_2d[None],
        keypoint_scores=hand.keypoint_scores[None],
        keypoints_3d=hand.keypoints_3d[None],
        K=K[None],
        is_right=hand.is_right,
    )
    faces = load_hand("open", "right" if hand.is_right else "left").faces
    meshes.append(Mesh(fitted.vertices[0].numpy(), faces, track_color(int(hand.is_right))))
    draw_meshes(drawn, meshes[-1:], K)
    points = fitted.joints[0].numpy() @ K.T
    draw_skeleton(drawn, points[:, :2] / points[:, 2:])

write_image(sys.argv[1], beside(beside(image, drawn), side_view(meshes, size=(HEIGHT, HEIGHT // 2))))
print(f"{len(found)} hands")
