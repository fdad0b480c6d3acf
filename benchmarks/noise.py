"""How near the fit comes to known open hands from their own projections: `python benchmarks/noise.py`.

200 natural poses, shapes and orientations half a metre from a camera of 600 px; Gaussian noise of 0, 1 and 3 px on
keypoints, 2 mm per pixel of it on relative 3D landmarks; with and without those landmarks.
"""

import numpy as np
import torch

from handkit.fit import fit_images
from handkit.hand import ManoLayer, load_hand
from handkit.hand.limits import angles_to_pose, joint_frames, sample_angles
from handkit.metrics import mpjpe_mm, pa_mpjpe_mm

K = np.array([[600.0, 0, 320], [0, 600.0, 240], [0, 0, 1]])
COUNT = 200


def main() -> None:
    rng = np.random.default_rng(0)
    hand = load_hand("open")
    pose = angles_to_pose(torch.from_numpy(sample_angles(COUNT, rng)), joint_frames(hand))
    draw = {"global_orient": rng.normal(0, 1.2, (COUNT, 3)), "betas": rng.normal(0, 1, (COUNT, 10))}
    place = rng.uniform([-0.1, -0.08, 0.45], [0.1, 0.08, 0.6], (COUNT, 3))
    layer = ManoLayer(hand)
    truth = layer(hand_pose=pose, transl=torch.from_numpy(place), **{k: torch.from_numpy(v) for k, v in draw.items()})
    joints = truth.joints.numpy()
    points = joints @ K.T
    points = points[..., :2] / points[..., 2:]
    for noise_px in (0, 1, 3):
        seen = points + rng.normal(0, noise_px, points.shape)
        landmarks = joints - joints.mean(1, keepdims=True) + rng.normal(0, 0.002 * noise_px, joints.shape)
        for name, given in (("with 3D landmarks", landmarks), ("2D alone", None)):
            found = fit_images(
                keypoints_2d=seen,
                keypoint_scores=np.ones((COUNT, 21)),
                K=np.tile(K, (COUNT, 1, 1)),
                keypoints_3d=given,
                source="joints",
            )
            fitted = found.joints.double()
            rooted = mpjpe_mm(fitted - fitted[:, :1], truth.joints - truth.joints[:, :1])
            print(
                f"{noise_px} px, {name}: PA-MPJPE median {pa_mpjpe_mm(fitted, truth.joints).median():.2f} mm, "
                f"about the wrist {rooted.median():.2f} mm, in the camera frame "
                f"{mpjpe_mm(fitted, truth.joints).median():.2f} mm"
            )


if __name__ == "__main__":
    main()
