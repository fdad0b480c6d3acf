"""What a lixel network learns of crops: where the vertices are seen, and how far behind the middle finger's root.

A batch is that of `handkit.data.handnet_batches`: 3D about the wrist in crop axes, so that z runs along the ray through
the wrist. A pinhole crop shows a vertex where its K has it; without K the weak camera of the annotated joints does.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from handkit.geometry.cameras import project
from handkit.hand.stereo import place_in_camera

ROOT: Final = 9
_LEAST_JOINTS: Final = 6
_TINY: Final = 1e-12


def lixel_points(
    batch: Mapping[str, Any], points: Float[Tensor, "N P 3"], *, size: int
) -> tuple[Float[Tensor, "N P 2"], Bool[Tensor, " N"]]:
    """Where points about the wrist in crop axes are seen, in widths, and of which hands that is known."""
    K, wrist, known = batch["K"].double(), batch["wrist"].double(), batch["K_valid"]
    ahead = torch.where(known[:, None], wrist, wrist.new_tensor([0.0, 0.0, 1.0]))
    camera = torch.where(known[:, None, None], K, torch.eye(3).to(K))
    pinhole = project(place_in_camera(points.double(), ahead), camera) / size
    scale, shift, is_weak = weak_camera(batch)
    weak = scale[:, None, None] * points[..., :2].double() + shift[:, None]
    seen = torch.where(known[:, None, None], pinhole, weak)
    return seen.to(points), known | is_weak


def weak_camera(
    batch: Mapping[str, Any],
) -> tuple[Float[Tensor, " N"], Float[Tensor, "N 2"], Bool[Tensor, " N"]]:
    """Scale in widths a metre and shift in widths that take the 3D joints to the 2D ones, and where there are enough.

    Least squares; exact where a weak camera took the picture.
    """
    valid = batch["joints_2d_valid"] & batch["joints_3d_valid"]
    weight = valid[..., None].double()
    total = weight.sum(1, keepdim=True).clamp_min(1)
    metres, widths = batch["joints_3d"][..., :2].double(), batch["joints_2d"].double()
    mean, mean_2d = ((x * weight).sum(1, keepdim=True) / total for x in (metres, widths))
    own, seen = (metres - mean) * weight, (widths - mean_2d) * weight
    scale = (own * seen).sum((1, 2)) / own.square().sum((1, 2)).clamp_min(_TINY)
    shift = mean_2d[:, 0] - scale[:, None] * mean[:, 0]
    return scale, shift, (valid.sum(1) >= _LEAST_JOINTS) & (scale > 0)


def lixel_targets(batch: Mapping[str, Any], *, size: int) -> dict[str, Tensor]:
    """Of vertices and joints "points" in widths and "depth" in metres behind joint 9, and which are known.

    Keys: vertices, vertices_depth, vertices_valid [N]; joints, joints_valid [N, 21], joints_depth, joints_depth_valid
    [N, 21]; scale [N], the weak camera's widths a metre at joint 9's distance, 0 where nothing says it.
    """
    root = batch["joints_3d"][:, ROOT, 2:3]
    has_root = batch["joints_3d_valid"][:, ROOT]
    vertices, is_seen = lixel_points(batch, batch["vertices"], size=size)
    known = batch["vertices_valid"] & is_seen & has_root
    scale, _, is_weak = weak_camera(batch)
    return {
        "vertices": torch.where(known[:, None, None], vertices, 0.0),
        "vertices_depth": torch.where(known[:, None], batch["vertices"][..., 2] - root, 0.0),
        "vertices_valid": known,
        "joints": batch["joints_2d"],
        "joints_valid": batch["joints_2d_valid"],
        "joints_depth": batch["joints_3d"][..., 2] - root,
        "joints_depth_valid": batch["joints_3d_valid"] & has_root[:, None],
        "scale": torch.where(is_weak, scale, 0.0).float(),
    }
