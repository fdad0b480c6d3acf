"""Hands of one image: find the keypoints, fit the hand, write a mesh.

python examples/image_to_hands.py photo.jpg hand.obj
"""

import sys

import numpy as np

from handkit.detect import MediaPipeDetector
from handkit.export.mesh import write_mesh
from handkit.fit import fit_images
from handkit.geometry.cameras import default_K
from handkit.hand import load_hand
from handkit.images import image_focal_px, read_image

image = read_image(sys.argv[1])
height, width = image.shape[:2]
K = default_K(width, height).numpy()
if (focal := image_focal_px(sys.argv[1])) is not None:
    K[[0, 1], [0, 1]] = focal

with MediaPipeDetector(max_hands=1) as detector:
    (found,) = detector.detect(image) or sys.exit("no hand")

fitted = fit_images(
    keypoints_2d=found.keypoints_2d[None],
    keypoint_scores=found.keypoint_scores[None],
    keypoints_3d=None if found.keypoints_3d is None else found.keypoints_3d[None],
    K=K[None],
    is_right=found.is_right,
)
hand = load_hand("open", "right" if found.is_right else "left")
write_mesh(sys.argv[2], fitted.vertices[0].numpy(), hand.faces, vertex_colors=hand.vertex_colors)

x, y, z = fitted.joints[0, 0].numpy()
side = "right" if found.is_right else "left"
print(f"a {side} hand, wrist at ({x:.3f}, {y:.3f}, {z:.3f}) m, shape {np.round(fitted.betas[0].numpy(), 1)[:3]}")
