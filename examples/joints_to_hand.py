"""3D joints of any source to hand parameters: joints [T, 21, 3] in metres, wrist then thumb to little, base to tip.

python examples/joints_to_hand.py joints.npy parameters.npz
"""

import sys

import numpy as np
import torch

from handkit.fit import fit_joints

joints = np.load(sys.argv[1])
fitted = fit_joints(torch.from_numpy(joints), hand="open", is_right=True)
error_mm = 1000 * np.linalg.norm(fitted.joints.numpy() - joints, axis=-1)
np.savez(
    sys.argv[2],
    global_orient=fitted.global_orient.numpy(),
    hand_pose=fitted.hand_pose.numpy(),
    betas=fitted.betas.numpy(),
    transl=fitted.transl.numpy(),
)
print(f"{len(joints)} hands, joints within {error_mm.mean():.1f} mm on average")
