"""What `handkit demo` wrote, read back: rows by track, and the meshes rebuilt from their parameters.

python examples/read_hands.py hands/video/hands.npz
"""

import sys

import numpy as np
import torch

from handkit.export.predictions import load_predictions
from handkit.hand import ManoLayer, load_hand

hands = load_predictions(sys.argv[1])
for track in np.unique(hands.track_id):
    rows = hands.rows(hands.track_id == track)
    side = "right" if rows.is_right[0] else "left"
    layer = ManoLayer(load_hand(hands.hand_model, side))
    names = ("global_orient", "hand_pose", "betas", "transl")
    mesh = layer(**{name: torch.from_numpy(getattr(rows, name)) for name in names})
    travelled = np.linalg.norm(np.diff(rows.joints_3d[:, 0], axis=0), axis=1).sum()
    size = np.ptp(mesh.vertices.numpy(), axis=1).max()
    print(f"track {track}: {side}, {len(rows)} frames, wrist travelled {travelled:.2f} m, mesh spans {size:.2f} m")
