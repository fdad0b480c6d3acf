"""What `handkit generate seqhand` wrote, in batches of short clips to train on.

python examples/load_sequences.py seqhand
"""

import sys

from torch.utils.data import DataLoader

from handkit.data.sample import collate, float_images
from handkit.data.seqhand import SeqHandDataset

clips = SeqHandDataset(sys.argv[1], frames=2)
loader = DataLoader(clips, batch_size=4, shuffle=True, drop_last=True, num_workers=1, collate_fn=collate)
for batch in loader:
    images, joints = float_images(batch["image"]), batch["joints_3d"]
    moved_mm = 1000 * (joints[:, 1] - joints[:, 0]).norm(dim=-1).mean()
    print(f"images {tuple(images.shape)}, joints {tuple(joints.shape)}, moved {moved_mm:.1f} mm from frame to frame")
